//! How much memory the control group of the process gives it: who takes more is killed.
//!
//! ```text
//!  /proc/self/cgroup ─▶ its path in the hierarchy ─▶ the least limit from there up to the root
//! ```
//! Both hierarchies of Linux, the unified one and that of old (cgroups(7)). In a container the path
//! may be one of the host's, which is not there: then the root's limit is the container's.

use std::fs;
use std::path::{Path, PathBuf};

/// Which groups a process is in.
const GROUPS: &str = "/proc/self/cgroup";

/// Where the unified hierarchy is, and the name of a limit there.
const UNIFIED: (&str, &str) = ("/sys/fs/cgroup", "memory.max");

/// The same of the hierarchy of old: that of the memory alone.
const OLD: (&str, &str) = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes");

/// The limit in bytes; `None` if there is none, or none is to be seen.
pub(super) fn memory_max() -> Option<u64> {
    least(&fs::read_to_string(GROUPS).ok()?, |file| fs::read_to_string(file).ok())
}

/// The least of the limits that `read` finds for these groups.
fn least(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let limit = |file: PathBuf| read(&file)?.trim().parse().ok();
    groups.lines().filter_map(files).flatten().filter_map(limit).min()
}

/// The files that may hold a limit for a line of `number:controllers:path`.
fn files(line: &str) -> Option<impl Iterator<Item = PathBuf>> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, name) = match controllers {
        "" => UNIFIED,
        _ if controllers.split(',').any(|one| one == "memory") => OLD,
        _ => return None,
    };
    let within = Path::new(path.trim_start_matches('/'));
    Some(within.ancestors().map(move |group| Path::new(root).join(group).join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least limit for these groups, of files with these contents.
    fn limit(groups: &str, limits: &[(&str, &str)]) -> Option<u64> {
        least(groups, |file| {
            let found = limits.iter().find(|(name, _)| file == Path::new(name));
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_least_limit_on_the_way_to_the_root_holds() {
        let limits = [
            ("/sys/fs/cgroup/pod/memory.max", "67108864\n"),
            ("/sys/fs/cgroup/pod/one/memory.max", "max\n"),
            ("/sys/fs/cgroup/other/memory.max", "1\n"),
        ];
        assert_eq!(limit("0::/pod/one\n", &limits), Some(64 << 20));
        assert_eq!(limit("0::/pod\n", &limits), Some(64 << 20));
        assert_eq!(limit("0::/\n", &limits), None);
    }

    #[test]
    fn in_a_container_the_root_is_its_own() {
        let limits = [("/sys/fs/cgroup/memory.max", "4096\n")];
        assert_eq!(limit("0::/\n", &limits), Some(4096));
        assert_eq!(limit("0::/a/path/of/the/host\n", &limits), Some(4096));
    }

    #[test]
    fn the_hierarchy_of_old_has_a_place_of_its_own() {
        let groups = "5:cpu,memory:/pod\n4:cpuset:/other\n0::/\n";
        let limits = [
            ("/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "8192\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1\n"),
        ];
        assert_eq!(limit(groups, &limits), Some(8192));
    }

    #[test]
    fn what_is_no_limit_is_none() {
        let limits = [("/sys/fs/cgroup/memory.max", "max\n")];
        for groups in ["0::/\n", "", "nothing\n", "1:memory\n"] {
            assert_eq!(limit(groups, &limits), None, "{groups}");
        }
    }
}
