//! The stack of a thread, as lines for the log.

use std::backtrace::Backtrace;

/// The frames of this thread, the innermost first, in the form in which backtrace(3) writes them
/// for twemproxy: `program(function)[place]`.
pub(super) fn stack() -> Vec<String> {
    let program = std::env::current_exe().unwrap_or_default();
    frames(&program.display().to_string(), &Backtrace::force_capture().to_string())
}

/// One line for each frame of `text`, which has two where the place is known.
fn frames(program: &str, text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, lines.last_mut()) {
            ("at", Some(frame)) => frame.push_str(&format!("[{rest}]")),
            _ if word.ends_with(':') => lines.push(format!("{program}({rest})")),
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{frames, stack};

    #[test]
    fn each_frame_is_a_line() {
        let text = "   0: std::backtrace::Backtrace::create\n             at /a b/c.rs:331:13\n   \
                    1: <T as core::fmt::Debug>::fmt\n  10: main\n             at ./m.rs:1:2\n";
        let lines = [
            "/p(std::backtrace::Backtrace::create)[/a b/c.rs:331:13]",
            "/p(<T as core::fmt::Debug>::fmt)",
            "/p(main)[./m.rs:1:2]",
        ];
        assert_eq!(frames("/p", text), lines);
        assert_eq!(frames("/p", "disabled backtrace"), Vec::<String>::new());
    }

    #[test]
    fn the_stack_names_its_functions() {
        assert!(stack().iter().any(|line| line.contains("trace.rs")), "{:?}", stack());
    }
}
