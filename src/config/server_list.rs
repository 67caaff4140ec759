//! Servers out of a text that is not the process's configuration: a nutcracker.yml, or its list of
//! servers alone.

use crate::config::placement::Routing;
use crate::config::pool::{self, Form};
use crate::config::source::{self, Content, Errors, Report, Section, Value};
use crate::topology::Server;

/// What such a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerList {
    /// The servers in ring order, names unique.
    pub servers: Vec<Server>,
    /// How they place keys, if the text is a whole nutcracker.yml.
    pub routing: Option<Routing>,
}

/// Reads `text`: a list, a mapping with `servers:`, or a nutcracker.yml with a pool called `pool`
/// or with one pool only. `source_name` stands in front of errors.
///
/// # Errors
/// Everything that is wrong with the text. A list may be empty: whether that is to be believed is
/// not decided here.
pub fn parse_servers(text: &str, source_name: &str, pool: &str) -> Result<ServerList, Errors> {
    let report = Report::new(source_name);
    let list = match source::read(text) {
        Ok(root) => read(&Value::root(&root, &report), pool),
        Err(problem) => {
            report.add(problem);
            None
        }
    };
    report.finish(list).map(|(list, _)| list)
}

fn read(root: &Value<'_>, pool: &str) -> Option<ServerList> {
    let bare = |servers| Some(ServerList { servers, routing: None });
    let entries = match &root.node.content {
        Content::List(items) if items.is_empty() => return bare(Vec::new()),
        Content::List(_) => {
            let mut list = root.clone();
            (list.key, list.path) = ("servers", "servers".to_owned());
            return bare(pool::list(&list, pool));
        }
        Content::Map(entries) => entries,
        Content::Empty | Content::Text(_) => {
            root.refuse("is neither a list of servers nor a nutcracker.yml");
            return None;
        }
    };
    let listed = |name: &str, content: &Content| {
        name == "servers" && matches!(content, Content::List(_) | Content::Empty)
    };
    let has_list = entries.iter().any(
        |(key, value)| matches!(&key.content, Content::Text(key) if listed(key, &value.content)),
    );
    let section = Section::open(root)?;
    if has_list {
        let value = section.take("servers")?;
        let servers = match &value.node.content {
            Content::List(items) if !items.is_empty() => pool::list(&value, pool),
            _ => Vec::new(),
        };
        section.close();
        return bare(servers);
    }
    let pools = section.take_all();
    let named = pools.iter().find(|value| value.key == pool);
    let Some(chosen) = named.or_else(|| pools.first().filter(|_| pools.len() == 1)) else {
        root.refuse(format!("has no pool '{pool}'"));
        return None;
    };
    let read = pool::read(chosen, Form::Nutcracker { compat: false })?;
    Some(ServerList { servers: read.servers, routing: Some(read.routing) })
}

#[cfg(test)]
mod tests {
    use super::parse_servers;

    fn names(text: &str) -> Vec<String> {
        let list = parse_servers(text, "znode", "web").unwrap();
        list.servers.into_iter().map(|server| server.name).collect()
    }

    #[test]
    fn a_list_a_mapping_and_a_whole_file_say_the_same() {
        let entries = "  - 10.0.0.1:11211:1 a\n  - 10.0.0.2:11211:1 b\n";
        assert_eq!(names(entries), ["a", "b"]);
        assert_eq!(names(&format!("servers:\n{entries}")), ["a", "b"]);
        let whole = format!("any:\n  listen: h:9\n  hash: md5\n  servers:\n{entries}");
        assert_eq!(names(&whole), ["a", "b"]);
        let list = parse_servers(&whole, "znode", "web").unwrap();
        assert_eq!(list.routing.unwrap().placement().hash, "md5");
        let two = format!("{whole}web:\n  listen: h:2\n  servers:\n  - 10.0.0.3:11211:1 c\n");
        assert_eq!(names(&two), ["c"], "of several pools the one of that name");
    }

    #[test]
    fn an_empty_list_is_read_as_what_it_is() {
        assert!(names("[]").is_empty());
        assert!(names("servers: []").is_empty());
        assert!(names("servers:\n").is_empty());
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        let refused = |text: &str| parse_servers(text, "znode", "web").unwrap_err().to_string();
        assert_eq!(refused(""), "znode:1:1: is neither a list of servers nor a nutcracker.yml");
        assert!(refused("- 10.0.0.1:11211:1 a\n- 10.0.0.2:11211:x b\n").starts_with("znode:2:3 "));
        assert!(refused("- [").starts_with("znode:"));
        assert!(refused("servers: []\nhash: md5\n").contains("\"hash\" is unknown"));
        let pools = "a:\n  listen: h:9\nb:\n  listen: h:2\n";
        assert!(refused(pools).contains("has no pool 'web'"));
    }
}
