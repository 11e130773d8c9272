//! nftables: grants are elements, with a kernel timeout, of two sets in the administrator's own table.
//!
//! ```text
//! set fwknop4 { type ipv4_addr . inet_proto . inet_service; flags timeout; }        (fwknop6 likewise)
//! chain fwknop_input { ip saddr . meta l4proto . th dport @fwknop4 counter accept comment "fwknop" }
//! chain input { type filter hook input …; policy drop; jump fwknop_input comment "fwknop"; … }
//! ```
//!
//! A dead daemon fails closed, because the kernel counts. Rules are known by what they do and by their comment, never
//! by their position; where the administrator moved the jump, it stays. Pure: renders and reads, acts never.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::backend::{Backend, Change, Command, Element, Output, SetUp, Step, Verb};
use super::error::Error;
use super::place;
use super::rule::{Entry, Rule};
use super::ruleset::{ChainRule, Ruleset, Set};
use super::settings::{Family, InputAccess};

pub struct Nftables {
    /// As configured. `None`: to be found.
    named: Option<InputAccess>,
    /// Where set-up was.
    access: Option<InputAccess>,
}

impl Nftables {
    pub fn new(named: Option<InputAccess>) -> Self {
        Self { named, access: None }
    }

    /// Where grants go. Before set-up, when nothing is named, this is a guess for dry runs.
    fn access(&self) -> InputAccess {
        self.access.clone().or_else(|| self.named.clone()).unwrap_or_else(InputAccess::usual)
    }

    /// Whether a table is where grants go. As long as that is not known, each may be.
    fn concerns(&self, family: &str, table: &str) -> bool {
        let known = self.access.as_ref().or(self.named.as_ref());
        known.is_none_or(|access| access.family.to_string() == family && access.table.as_str() == table)
    }

    fn element(&self, address: IpAddr, service: crate::net::Service) -> Result<Element, Error> {
        let access = self.access();
        let set = match (address, access.family) {
            (IpAddr::V4(_), Family::Inet | Family::Ip) => SET4,
            (IpAddr::V6(_), Family::Inet | Family::Ip6) => SET6,
            _ => return Err(Error::WrongFamily { access, address }),
        };
        Ok(Element { family: access.family, table: access.table, set, address, service, timeout: None, comment: None })
    }
}

impl Backend for Nftables {
    fn survey(&self) -> Step {
        nft(["-j", "list", "ruleset"])
    }

    fn set_up(&mut self, survey: &Output) -> Result<SetUp, Error> {
        let ruleset = read(survey)?;
        let access = match &self.named {
            Some(named) => place::check(&ruleset, named).map(|()| named.clone())?,
            None => place::find(&ruleset)?,
        };
        let missing = missing(&ruleset, &access)?;
        let set_up = SetUp {
            place: access.to_string(),
            steps: transaction(missing),
            warnings: place::warnings(&ruleset, &access),
        };
        self.access = Some(access);
        Ok(set_up)
    }

    fn check(&self) -> Option<Step> {
        let InputAccess { family, table, .. } = self.access.as_ref()?;
        Some(nft(["-j", "-t", "list", "table", &family.to_string(), table.as_str()]))
    }

    fn in_place(&self, check: &Output) -> bool {
        let (Some(access), Ok(ruleset)) = (&self.access, read(check)) else { return false };
        place::check(&ruleset, access).is_ok()
            && !place::hidden(&ruleset, access)
            && missing(&ruleset, access).is_ok_and(|missing| missing.is_empty())
    }

    fn generation(&self) -> Option<Step> {
        Some(Step::Generation)
    }

    fn tear_down(&self, survey: &Output) -> Result<Vec<Step>, Error> {
        let ruleset = read(survey)?;
        let mut tables: Vec<(&str, &str)> = ours(&ruleset).map(|set| (&*set.family, &*set.table)).collect();
        tables.extend(ruleset.chains.iter().filter(|chain| is_our_chain(chain)).map(|c| (&*c.family, &*c.table)));
        tables.sort_unstable();
        tables.dedup();
        tables.retain(|(family, table)| self.concerns(family, table));
        Ok(transaction(tables.into_iter().flat_map(|(family, table)| removal(&ruleset, family, table)).collect()))
    }

    fn find(&self, rule: &Rule) -> Result<Step, Error> {
        Ok(Step::Element(Verb::Get, self.element(rule.address, rule.service)?))
    }

    fn open(&self, rule: &Rule, found: Option<&Entry>, lasts: Duration) -> Result<Vec<Change>, Error> {
        let bare = self.element(rule.address, rule.service)?;
        let new = Element { timeout: Some(lasts), comment: Some(rule.tag.to_string()), ..bare.clone() };
        let add = Change { step: Step::Element(Verb::Add, new), undo: Step::Element(Verb::Delete, bare.clone()) };
        // Adding what exists would keep the old timeout on kernels before 6.12.
        let delete = found.map(|former| {
            let former = Element { timeout: former.remaining, comment: former.comment.clone(), ..bare.clone() };
            Change { step: Step::Element(Verb::Delete, bare.clone()), undo: Step::Element(Verb::Add, former) }
        });
        Ok(delete.into_iter().chain([add]).collect())
    }

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error> {
        Ok(vec![Step::Element(Verb::Delete, self.element(entry.address, entry.service)?)])
    }

    fn entries(&self, output: &Output) -> Result<Vec<Entry>, Error> {
        match output {
            Output::Found(found) => Ok(found.iter().cloned().collect()),
            survey => {
                let ruleset = read(survey)?;
                let here = ours(&ruleset).filter(|set| self.concerns(&set.family, &set.table));
                Ok(here.flat_map(Set::entries).collect())
            }
        }
    }

    fn list_all(&self) -> Step {
        nft(["list", "ruleset"])
    }
}

/// The changes that bring a table from what it is to what we need: none when all is there.
fn missing(ruleset: &Ruleset, access: &InputAccess) -> Result<Vec<Value>, Error> {
    let family = access.family.to_string();
    let table = access.table.as_str();
    let taken = |what: String| Error::NameTaken { access: access.clone(), what };
    let mut changes = Vec::new();

    for name in sets(access.family) {
        match ruleset.set(&family, table, name) {
            Some(set) if is_our_set(set) => {}
            Some(_) => return Err(taken(format!("set {name}"))),
            None => changes.push(json!({"add": {"set": {
                "family": family, "table": table, "name": name, "type": kind(name), "flags": ["timeout"]}}})),
        }
    }

    let chain = ruleset.chain(&family, table, CHAIN);
    match chain {
        Some(chain) if !is_our_chain(chain) => return Err(taken(format!("chain {CHAIN}"))),
        Some(_) => {}
        None => changes.push(json!({"add": {"chain": {"family": family, "table": table, "name": CHAIN}}})),
    }
    for name in sets(access.family) {
        let wanted = acceptance(name);
        // Another nft may list what we wrote in another form: then its mark must do, or we would add it again and again.
        let there = |rule: &ChainRule| {
            rule.statements().eq(wanted.iter()) || (is_marked(rule) && rule.mentions(name) && rule.accepts())
        };
        if !chain.is_some_and(|chain| ruleset.rules_in(chain).any(there)) {
            let mut expr = wanted.clone();
            expr.insert(1, json!({"counter": null}));
            changes.push(rule("add", &family, table, CHAIN, expr));
        }
    }

    let jumps = |rule: &&ChainRule| rule.family == family && rule.table == table && rule.jumps_to(CHAIN);
    let (right, wrong): (Vec<_>, Vec<_>) =
        ruleset.rules.iter().filter(jumps).partition(|rule| rule.chain == access.chain.as_str());
    if right.is_empty() {
        let expr = vec![json!({"jump": {"target": CHAIN}})];
        changes.push(rule("insert", &family, table, access.chain.as_str(), expr));
    }
    // One jump: what an earlier configuration left in another chain, or a mishap doubled, goes.
    let surplus = right.into_iter().skip(1).chain(wrong);
    changes.extend(surplus.filter(|rule| is_marked(rule)).map(deletion));
    Ok(changes)
}

/// The changes that take everything of ours out of a table. What the administrator's own rules use stays, emptied.
fn removal(ruleset: &Ruleset, family: &str, table: &str) -> Vec<Value> {
    let here = |rule: &&ChainRule| rule.family == family && rule.table == table;
    let (marked, foreign): (Vec<_>, Vec<_>) = ruleset.rules.iter().filter(here).partition(|rule| is_marked(rule));
    let mut changes: Vec<Value> = marked.into_iter().map(deletion).collect();

    let in_use = foreign.iter().any(|rule| rule.chain == CHAIN || rule.mentions(CHAIN));
    if ruleset.chain(family, table, CHAIN).is_some_and(is_our_chain) && !in_use {
        changes.push(json!({"delete": {"chain": {"family": family, "table": table, "name": CHAIN}}}));
    }
    for set in ours(ruleset).filter(|set| set.family == family && set.table == table) {
        let verb = if foreign.iter().any(|rule| rule.mentions(&set.name)) { "flush" } else { "delete" };
        changes.push(json!({verb: {"set": {"family": family, "table": table, "name": set.name}}}));
    }
    changes
}

/// One `nft` for all of it: the kernel makes all changes or none.
fn transaction(changes: Vec<Value>) -> Vec<Step> {
    if changes.is_empty() {
        return Vec::new();
    }
    let script = json!({"nftables": changes}).to_string();
    vec![Step::Command(Command::new(PROGRAM, ["-j", "-f", "-"]).with_stdin(script))]
}

fn nft<const N: usize>(args: [&str; N]) -> Step {
    Step::Command(Command::new(PROGRAM, args))
}

fn read(output: &Output) -> Result<Ruleset, Error> {
    let Output::Text(text) = output else { return Ok(Ruleset::default()) };
    Ruleset::read(text).map_err(|source| Error::Unreadable { program: PROGRAM, source })
}

fn sets(family: Family) -> &'static [&'static str] {
    match family {
        Family::Inet => &[SET4, SET6],
        Family::Ip => &[SET4],
        Family::Ip6 => &[SET6],
    }
}

fn kind(set: &str) -> [&'static str; 3] {
    [if set == SET4 { "ipv4_addr" } else { "ipv6_addr" }, "inet_proto", "inet_service"]
}

/// Our sets in all tables, known by name and shape.
fn ours(ruleset: &Ruleset) -> impl Iterator<Item = &Set> {
    ruleset.sets.iter().filter(|set| is_our_set(set))
}

fn is_our_set(set: &Set) -> bool {
    let has = |flag: &str| set.flags.iter().any(|have| have == flag);
    [SET4, SET6].contains(&&*set.name) && set.kind == kind(&set.name) && has("timeout") && !has("constant")
}

fn is_our_chain(chain: &super::ruleset::Chain) -> bool {
    chain.name == CHAIN && chain.hook.is_none()
}

/// A rule we made: it says so, and it is one we make.
fn is_marked(rule: &ChainRule) -> bool {
    rule.comment.as_deref() == Some(COMMENT) && (rule.chain == CHAIN || rule.jumps_to(CHAIN))
}

/// `ip saddr . meta l4proto . th dport @fwknop4 accept`
fn acceptance(set: &str) -> Vec<Value> {
    let protocol = if set == SET4 { "ip" } else { "ip6" };
    let key = json!({"concat": [
        {"payload": {"protocol": protocol, "field": "saddr"}},
        {"meta": {"key": "l4proto"}},
        {"payload": {"protocol": "th", "field": "dport"}}]});
    vec![json!({"match": {"op": "==", "left": key, "right": format!("@{set}")}}), json!({"accept": null})]
}

fn rule(verb: &str, family: &str, table: &str, chain: &str, expr: Vec<Value>) -> Value {
    json!({verb: {"rule": {"family": family, "table": table, "chain": chain, "comment": COMMENT, "expr": expr}}})
}

/// By handle, which the kernel never uses twice: whatever was inserted meanwhile, no other rule can be hit.
fn deletion(rule: &ChainRule) -> Value {
    json!({"delete": {"rule": {
        "family": rule.family, "table": rule.table, "chain": rule.chain, "handle": rule.handle}}})
}

impl InputAccess {
    fn usual() -> Self {
        // Debian's /etc/nftables.conf and nearly every example have it so.
        "inet filter input".parse().expect("three plain words")
    }
}

const PROGRAM: &str = "nft";
const SET4: &str = "fwknop4";
const SET6: &str = "fwknop6";
const CHAIN: &str = "fwknop_input";
const COMMENT: &str = "fwknop";

#[cfg(test)]
mod tests;
