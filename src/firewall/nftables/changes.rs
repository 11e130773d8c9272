//! The changes that bring a ruleset from what it is to what we need, and back.

use serde_json::{Value, json};

use super::Places;
use super::slot::{self, Chain, Slot, Version};
use crate::firewall::error::Error;
use crate::firewall::ruleset::{self, ChainRule, Ruleset};
use crate::firewall::settings::{ChainPlace, Features};

/// What is missing: nothing when all is there.
pub fn missing(ruleset: &Ruleset, places: &Places, features: Features) -> Result<Vec<Value>, Error> {
    let mut changes = Vec::new();
    for chain in Chain::ALL {
        let slots: Vec<&Slot> = slot::wanted(features).filter(|slot| slot.chain() == chain).collect();
        if let (Some(place), false) = (places.of(chain), slots.is_empty()) {
            Missing { ruleset, place, chain, changes: &mut changes }.all(&slots)?;
        }
    }
    Ok(changes)
}

/// What one of our chains needs.
struct Missing<'a> {
    ruleset: &'a Ruleset,
    /// The chain that is jumped from, or whose table we are in.
    place: &'a ChainPlace,
    chain: Chain,
    changes: &'a mut Vec<Value>,
}

impl Missing<'_> {
    fn all(mut self, slots: &[&Slot]) -> Result<(), Error> {
        let family = self.place.family.to_string();
        for slot in slots {
            for version in Version::in_table(self.place.family) {
                let is_there = slot.is_in(self.ruleset, *version, &family, self.place.table.as_str());
                if !is_there.map_err(|what| self.taken(what))? {
                    self.changes.push(slot.addition(*version, &family, self.place.table.as_str()));
                }
            }
        }
        self.chain()?;
        for slot in slots {
            for version in Version::in_table(self.place.family) {
                self.rule(slot, *version);
            }
        }
        if self.chain.base().is_none() {
            self.jump();
        }
        Ok(())
    }

    fn taken(&self, what: String) -> Error {
        Error::NameTaken { access: self.place.clone(), what }
    }

    fn found(&self) -> Option<&ruleset::Chain> {
        self.ruleset.chain(&self.place.family.to_string(), self.place.table.as_str(), self.chain.name())
    }

    fn chain(&mut self) -> Result<(), Error> {
        let (family, table, name) = (self.place.family.to_string(), self.place.table.as_str(), self.chain.name());
        match (self.found(), self.chain.base()) {
            (Some(found), _) if is_ours(found) => {}
            (Some(_), _) => return Err(self.taken(format!("chain {name}"))),
            (None, None) => {
                self.changes.push(json!({"add": {"chain": {"family": family, "table": table, "name": name}}}));
            }
            (None, Some((hook, priority))) => self.changes.push(json!({"add": {"chain": {
                "family": family, "table": table, "name": name,
                "type": "nat", "hook": hook, "prio": priority, "policy": "accept"}}})),
        }
        Ok(())
    }

    fn rule(&mut self, slot: &Slot, version: Version) {
        let Some(wanted) = slot.rule(version) else { return };
        let name = slot.name(version);
        // Another nft may list what we wrote in another form: then its mark must do, or we would add it again and again.
        let there = |rule: &ChainRule| {
            rule.statements().eq(wanted.iter()) || (is_marked(rule) && rule.mentions(&name) && rule.does(slot.verb()))
        };
        if !self.found().is_some_and(|chain| self.ruleset.rules_in(chain).any(there)) {
            let mut expr = wanted;
            // Before the verdict: what a translation counted would not be the packets it changed.
            if slot.verb() == "accept" {
                expr.insert(expr.len() - 1, json!({"counter": null}));
            }
            self.changes.push(addition("add", self.place, self.chain.name(), expr));
        }
    }

    fn jump(&mut self) {
        let (family, table) = (self.place.family.to_string(), self.place.table.as_str());
        let jumps =
            |rule: &&ChainRule| rule.family == family && rule.table == table && rule.jumps_to(self.chain.name());
        let (right, wrong): (Vec<_>, Vec<_>) =
            self.ruleset.rules.iter().filter(jumps).partition(|rule| rule.chain == self.place.chain.as_str());
        if right.is_empty() {
            let expr = vec![json!({"jump": {"target": self.chain.name()}})];
            self.changes.push(addition("insert", self.place, self.place.chain.as_str(), expr));
        }
        // One jump: what an earlier configuration left in another chain, or a mishap doubled, goes.
        let surplus = right.into_iter().skip(1).chain(wrong);
        self.changes.extend(surplus.filter(|rule| is_marked(rule)).map(deletion));
    }
}

/// The changes that take everything of ours out of a table. What the administrator's own rules use stays, emptied.
pub fn removal(ruleset: &Ruleset, family: &str, table: &str) -> Vec<Value> {
    let here = |rule: &&ChainRule| rule.family == family && rule.table == table;
    let (marked, foreign): (Vec<_>, Vec<_>) = ruleset.rules.iter().filter(here).partition(|rule| is_marked(rule));
    let mut changes: Vec<Value> = marked.into_iter().map(deletion).collect();

    for name in Chain::ALL.map(Chain::name) {
        let in_use = foreign.iter().any(|rule| rule.chain == name || rule.mentions(name));
        if ruleset.chain(family, table, name).is_some_and(is_ours) && !in_use {
            changes.push(json!({"delete": {"chain": {"family": family, "table": table, "name": name}}}));
        }
    }
    for (slot, version, ..) in slots(ruleset).filter(|(.., f, t)| (*f, *t) == (family, table)) {
        let in_use = foreign.iter().any(|rule| rule.mentions(&slot.name(version)));
        changes.push(slot.change(if in_use { "flush" } else { "delete" }, version, family, table));
    }
    changes
}

/// The tables that have something of ours.
pub fn tables(ruleset: &Ruleset) -> Vec<(&str, &str)> {
    let chains = ruleset.chains.iter().filter(|chain| is_ours(chain)).map(|c| (&*c.family, &*c.table));
    let mut tables: Vec<_> = slots(ruleset).map(|(.., family, table)| (family, table)).chain(chains).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

/// Our sets and maps in all tables, known by name and shape.
pub fn slots(ruleset: &Ruleset) -> impl Iterator<Item = (&'static Slot, Version, &str, &str)> {
    let sets = ruleset.sets.iter().map(|set| (&*set.name, &*set.family, &*set.table));
    let maps = ruleset.maps.iter().map(|map| (&*map.name, &*map.family, &*map.table));
    let mut named: Vec<_> = sets.chain(maps).collect();
    named.sort_unstable();
    let versions = [Version::V4, Version::V6];
    let wanted = slot::all().flat_map(move |slot| versions.map(|version| (slot, version)));
    wanted.flat_map(move |(slot, version)| {
        let name = slot.name(version);
        let found = named.iter().filter(|(have, ..)| *have == name);
        let ours = found.filter(|(_, family, table)| slot.is_in(ruleset, version, family, table) == Ok(true));
        ours.map(|(_, family, table)| (slot, version, *family, *table)).collect::<Vec<_>>()
    })
}

fn is_ours(found: &ruleset::Chain) -> bool {
    Chain::ALL.into_iter().any(|chain| {
        let base = match (chain.base(), found.hook.as_deref()) {
            (None, None) => true,
            (Some((hook, _)), Some(have)) => hook == have && found.kind.as_deref() == Some("nat"),
            _ => false,
        };
        found.name == chain.name() && base
    })
}

/// A rule we made: it says so, and it is one we make.
fn is_marked(rule: &ChainRule) -> bool {
    let ours = |name: &str| rule.chain == name || rule.jumps_to(name);
    rule.comment.as_deref() == Some(COMMENT) && Chain::ALL.into_iter().any(|chain| ours(chain.name()))
}

fn addition(verb: &str, place: &ChainPlace, chain: &str, expr: Vec<Value>) -> Value {
    let (family, table) = (place.family.to_string(), place.table.as_str());
    json!({verb: {"rule": {"family": family, "table": table, "chain": chain, "comment": COMMENT, "expr": expr}}})
}

/// By handle, which the kernel never uses twice: whatever was inserted meanwhile, no other rule can be hit.
fn deletion(rule: &ChainRule) -> Value {
    json!({"delete": {"rule": {
        "family": rule.family, "table": rule.table, "chain": rule.chain, "handle": rule.handle}}})
}

const COMMENT: &str = "fwknop";
