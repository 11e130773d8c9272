//! What `nft -j list …` prints, as far as we need it (`libnftables-json(5)`).
//!
//! Read leniently: nft adds keys and kinds of objects from version to version, and an administrator's ruleset may hold
//! anything.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A listing: the whole ruleset, one table, or one set.
#[derive(Debug, Default, PartialEq)]
pub struct Ruleset {
    pub tables: Vec<Table>,
    pub chains: Vec<Chain>,
    pub sets: Vec<Set>,
    pub maps: Vec<Map>,
    /// In the order of evaluation within their chain.
    pub rules: Vec<ChainRule>,
}

impl Ruleset {
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let listing: Listing = serde_json::from_str(text)?;
        let mut ruleset = Self::default();
        for object in listing.nftables {
            ruleset.tables.extend(object.table);
            ruleset.chains.extend(object.chain);
            ruleset.sets.extend(object.set);
            ruleset.maps.extend(object.map);
            ruleset.rules.extend(object.rule);
        }
        Ok(ruleset)
    }

    pub fn chain(&self, family: &str, table: &str, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| (&*chain.family, &*chain.table, &*chain.name) == (family, table, name))
    }

    pub fn set(&self, family: &str, table: &str, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| (&*set.family, &*set.table, &*set.name) == (family, table, name))
    }

    pub fn map(&self, family: &str, table: &str, name: &str) -> Option<&Map> {
        self.maps.iter().find(|map| (&*map.family, &*map.table, &*map.name) == (family, table, name))
    }

    pub fn rules_in<'a>(&'a self, chain: &'a Chain) -> impl DoubleEndedIterator<Item = &'a ChainRule> {
        self.rules
            .iter()
            .filter(|rule| (&rule.family, &rule.table, &rule.chain) == (&chain.family, &chain.table, &chain.name))
    }

    /// The base chains from which packets may come to this chain, by whatever jumps; for a base chain, itself.
    pub fn entrances<'a>(&'a self, chain: &'a Chain) -> Vec<&'a Chain> {
        let mut reached = vec![chain];
        let mut next = 0;
        while let Some(target) = reached.get(next).copied() {
            for before in self.leading_to(target) {
                if !reached.contains(&before) {
                    reached.push(before);
                }
            }
            next += 1;
        }
        reached.retain(|chain| chain.hook.is_some());
        reached
    }

    /// The chains with a rule that jumps or goes to this one, itself or by a verdict map.
    fn leading_to<'a>(&'a self, target: &'a Chain) -> impl Iterator<Item = &'a Chain> {
        let here = move |family: &str, table: &str| (family, table) == (&*target.family, &*target.table);
        let maps: Vec<&Map> = self
            .maps
            .iter()
            .filter(|map| here(&map.family, &map.table) && map.elem.iter().any(|way| leads_to(way, &target.name)))
            .collect();
        let leads = move |rule: &ChainRule| {
            rule.expr.iter().any(|statement| leads_to(statement, &target.name))
                || maps.iter().any(|map| rule.looks_up(&map.name))
        };
        self.chains.iter().filter(move |chain| here(&chain.family, &chain.table) && self.rules_in(chain).any(&leads))
    }
}

/// Whether a jump or goto to this chain stands anywhere within.
fn leads_to(value: &Value, chain: &str) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| leads_to(value, chain)),
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let target = value.get("target").and_then(Value::as_str);
            (["jump", "goto"].contains(&&**key) && target == Some(chain)) || leads_to(value, chain)
        }),
        _ => false,
    }
}

#[derive(Debug, PartialEq, Deserialize)]
pub struct Chain {
    pub family: String,
    pub table: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A base chain has one.
    pub hook: Option<String>,
    pub policy: Option<String>,
    #[serde(default)]
    pub prio: Value,
}

#[derive(Debug, PartialEq, Deserialize)]
pub struct Table {
    pub family: String,
    pub name: String,
    #[serde(default)]
    pub handle: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
pub struct Set {
    pub family: String,
    pub table: String,
    pub name: String,
    #[serde(rename = "type", default, deserialize_with = "one_or_many")]
    pub kind: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub flags: Vec<String>,
    /// The kernel's own number for it.
    #[serde(default)]
    pub handle: u64,
    /// Not in a terse listing.
    #[serde(default)]
    elem: Vec<Value>,
}

impl Set {
    pub fn items(&self) -> impl Iterator<Item = Listed<'_>> {
        self.elem.iter().map(|element| Listed::read(element, None))
    }
}

/// A named map.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Map {
    pub family: String,
    pub table: String,
    pub name: String,
    #[serde(rename = "type", default, deserialize_with = "one_or_many")]
    pub kind: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub flags: Vec<String>,
    /// The kernel's own number for it.
    #[serde(default)]
    pub handle: u64,
    /// What it maps to: `verdict`, or the type of a value.
    #[serde(default)]
    map: Value,
    /// Not in a terse listing.
    #[serde(default)]
    elem: Vec<Value>,
}

impl Map {
    pub fn is_of_verdicts(&self) -> bool {
        self.leads_to("verdict")
    }

    pub fn leads_to(&self, kind: &str) -> bool {
        self.map.as_str() == Some(kind)
    }

    pub fn items(&self) -> impl Iterator<Item = Listed<'_>> {
        self.elem.iter().filter_map(|pair| match pair.as_array()?.as_slice() {
            [element, to] => Some(Listed::read(element, Some(to))),
            _ => None,
        })
    }
}

/// An element of a set or map.
#[derive(Debug, PartialEq)]
pub struct Listed<'a> {
    /// One value, or those of a concatenation.
    pub key: Vec<&'a Value>,
    pub to: Option<&'a Value>,
    pub remaining: Option<Duration>,
    pub comment: Option<String>,
}

impl<'a> Listed<'a> {
    /// `{"elem": {"val": {"concat": […]}, "expires": 29, …}}`, or the bare value when there is nothing else to say.
    fn read(element: &'a Value, to: Option<&'a Value>) -> Self {
        let element = element.get("elem").unwrap_or(element);
        let value = element.get("val").unwrap_or(element);
        let key = value.get("concat").and_then(Value::as_array).map_or(vec![value], |parts| parts.iter().collect());
        let seconds = |key| element.get(key).and_then(Value::as_u64);
        // In its last second nft may leave `expires` out; a timeout alone still says that it is not for ever.
        let remaining = seconds("expires").or_else(|| seconds("timeout").map(|_| 0)).map(Duration::from_secs);
        Self { key, to, remaining, comment: element.get("comment").and_then(Value::as_str).map(str::to_owned) }
    }
}

#[derive(Debug, PartialEq, Deserialize)]
pub struct ChainRule {
    pub family: String,
    pub table: String,
    pub chain: String,
    pub handle: u64,
    pub comment: Option<String>,
    #[serde(default)]
    expr: Vec<Value>,
}

impl ChainRule {
    /// What it does, without what only counts or writes.
    pub fn statements(&self) -> impl Iterator<Item = &Value> {
        self.expr.iter().filter(|statement| statement.get("counter").is_none() && statement.get("log").is_none())
    }

    /// Drops or rejects whatever reaches it.
    pub fn refuses_all(&self) -> bool {
        let mut statements = self.statements();
        let last = statements.next();
        statements.next().is_none()
            && last.is_some_and(|last| last.get("drop").is_some() || last.get("reject").is_some())
    }

    /// Whether one of its statements is of this kind: `accept`, `dnat`.
    pub fn does(&self, verb: &str) -> bool {
        self.expr.iter().any(|statement| statement.get(verb).is_some())
    }

    pub fn jumps_to(&self, chain: &str) -> bool {
        let target = |statement: &Value, kind: &str| statement.get(kind)?.get("target")?.as_str().map(|to| to == chain);
        self.expr.iter().any(|statement| target(statement, "jump").or_else(|| target(statement, "goto")) == Some(true))
    }

    /// Whether it follows the verdicts of this map.
    fn looks_up(&self, map: &str) -> bool {
        let data =
            |statement: &'_ Value| statement.pointer("/vmap/data")?.as_str()?.strip_prefix('@').map(|m| m == map);
        self.expr.iter().any(|statement| data(statement) == Some(true))
    }

    /// Whether it names the set (`@set`) or the chain anywhere, also deep within a map.
    pub fn mentions(&self, name: &str) -> bool {
        fn within(value: &Value, name: &str) -> bool {
            match value {
                Value::String(text) => text.strip_prefix('@').unwrap_or(text) == name,
                Value::Array(values) => values.iter().any(|value| within(value, name)),
                Value::Object(fields) => fields.values().any(|value| within(value, name)),
                _ => false,
            }
        }
        self.expr.iter().any(|statement| within(statement, name))
    }
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

/// Each object has one of these keys, or one that does not concern us.
#[derive(Deserialize)]
struct Object {
    table: Option<Table>,
    chain: Option<Chain>,
    set: Option<Set>,
    map: Option<Map>,
    rule: Option<ChainRule>,
}

/// nft writes a list of one as a plain string in some places and versions; a set's `type` may also be an expression,
/// which ours never is.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_single_flag_may_stand_alone() {
        let text =
            r#"{"nftables":[{"set":{"family":"ip","name":"s","table":"t","type":"ipv4_addr","flags":"timeout"}}]}"#;
        let ruleset = Ruleset::read(text).unwrap();
        assert_eq!(
            (&*ruleset.sets[0].flags, &*ruleset.sets[0].kind),
            (&["timeout".to_owned()][..], &["ipv4_addr".to_owned()][..])
        );
    }

    #[test]
    fn a_closing_rule_refuses_all_only_without_a_condition() {
        let rule = |expr: &str| -> ChainRule {
            let text = format!(r#"{{"family":"inet","table":"t","chain":"c","handle":1,"expr":{expr}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        assert!(rule(r#"[{"drop":null}]"#).refuses_all());
        assert!(
            rule(r#"[{"log":{"prefix":"x"}},{"counter":null},{"reject":{"type":"icmpx","expr":"admin-prohibited"}}]"#)
                .refuses_all()
        );
        assert!(!rule(r#"[{"accept":null}]"#).refuses_all());
        assert!(!rule(r#"[{"limit":{"rate":3,"per":"minute"}},{"drop":null}]"#).refuses_all());
        assert!(!rule("[]").refuses_all());

        let jump = rule(r#"[{"match":{}},{"jump":{"target":"fwknop_input"}}]"#);
        assert!(jump.jumps_to("fwknop_input") && jump.mentions("fwknop_input"));
        let verdict_map = rule(r#"[{"vmap":{"key":{},"data":{"set":[[22,{"jump":{"target":"fwknop_input"}}]]}}}]"#);
        assert!(!verdict_map.jumps_to("fwknop_input") && verdict_map.mentions("fwknop_input"));
        assert!(rule(r#"[{"match":{"op":"==","left":{},"right":"@fwknop4"}},{"drop":null}]"#).mentions("fwknop4"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in r#"[\[\]{}:",a-z0-9]{0,80}"#) {
            let _ = Ruleset::read(&text);
        }
    }
}
