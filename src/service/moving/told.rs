//! The table of phases for people: what becomes of a command about a key that moves.

use crate::routing::Phase;

/// What a command about a key does in a phase, the key going from the server `old` to `new`; `handed`:
/// the one hands it over to the other.
pub fn told_moving(phase: Phase, (old, new): (&str, &str), handed: bool) -> String {
    let move_at = if handed { "MIGRATE at" } else { "the proxy carrying it from" };
    match phase {
        Phase::Stable => format!("at {old}"),
        Phase::Prepare => {
            format!("at {old}; on the way back, once {move_at} {new} has brought it")
        }
        Phase::Fence => "waits, and is refused if that takes too long".to_owned(),
        Phase::Warm | Phase::Drain => {
            format!("{move_at} {old}, unless it is known to be at {new}, then at {new}")
        }
        Phase::New => format!("at {new}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_says_where_a_command_goes() {
        let told = Phase::ALL.map(|phase| told_moving(phase, ("a", "b"), true));
        let at = told.each_ref().map(|text| (text.contains("at a"), text.contains("at b")));
        let both = (true, true);
        assert_eq!(at, [(true, false), both, (false, false), both, both, (false, true)]);
    }
}
