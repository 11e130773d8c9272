//! What decides about packets beside the tables of this iptables: other tables of nf_tables, and the other variant. A
//! packet must be let through by all of them, so a drop there is one that our accept cannot overrule.

use super::save::Save;
use super::text::Version;
use super::{Variant, concern};
use crate::firewall::place;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::{ChainPlace, Command, Concern, Family, Hook, Output, Step};

/// What [`overruling`] judges, in its order. Where a program is missing, nobody can have written such rules with it.
pub fn inquiries(variant: Variant) -> Vec<Step> {
    let saves = match variant {
        Variant::NfTables => ["iptables-legacy-save", "ip6tables-legacy-save"],
        Variant::Legacy => ["iptables-nft-save", "ip6tables-nft-save"],
    };
    [ask_nft()].into_iter().chain(saves.map(|save| Step::Command(Command::new(save, [""; 0])))).collect()
}

pub fn ask_nft() -> Step {
    Step::Command(Command::new("nft", ["-j", "list", "ruleset"]))
}

/// The drops at these hooks that are none of ours: of `chains`, which iptables keeps in the tables of `filter`. Nothing is said of
/// the nftables table that is `spared`.
pub fn overruling(variant: Variant, hooks: &[(Hook, &str)], spared: Option<&str>, answers: &[Output]) -> Vec<Concern> {
    let [nft, saves @ ..] = answers else { return Vec::new() };
    let ruleset = match nft {
        Output::Text(text) => Ruleset::read(text).ok(),
        _ => None,
    };
    // With nft the rules of iptables' nf_tables variant are seen as well.
    let seen = ruleset.is_some() && variant == Variant::Legacy;
    let foreign = ruleset.iter().flat_map(|ruleset| {
        let dropping = |(hook, chain)| {
            let others = place::dropping(ruleset, hook).into_iter();
            others
                .filter(move |place| variant == Variant::Legacy || !is_ours(place, chain))
                .filter(move |place| spared != Some(place.table.as_str()))
                .map(move |place| drops(hook, &place))
        };
        hooks.iter().copied().flat_map(dropping)
    });
    let versions = [Version::V4, Version::V6].map(|version| (version, String::new()));
    let save = Save::read(versions.into_iter().zip(if seen { &[] } else { saves }));
    let other = hooks.iter().flat_map(|(hook, chain)| {
        let told = save.tables().filter(|(.., held)| concern::drops(held, chain));
        told.map(|(version, table, _)| drops_in_other_variant(variant, *hook, version, table, chain))
    });
    foreign.chain(other).collect()
}

/// Whether iptables keeps that chain, and we jump from it.
fn is_ours(place: &ChainPlace, chain: &str) -> bool {
    place.family != Family::Inet && place.table.as_str() == "filter" && place.chain.as_str() == chain
}

fn drops(hook: Hook, place: &ChainPlace) -> Concern {
    let what =
        format!("the chain '{place}' drops {} too: what iptables lets through stays closed there", hook.packets());
    let advice = format!(
        "drop in one place only: let that chain accept, or take FIREWALL nftables with {} {place};",
        hook.setting()
    );
    Concern::minor(what, advice)
}

fn drops_in_other_variant(variant: Variant, hook: Hook, version: Version, table: &str, chain: &str) -> Concern {
    let (program, ours) = (version.program(), variant.suffix());
    let other = if variant == Variant::NfTables { Variant::Legacy } else { Variant::NfTables }.suffix();
    let what = format!(
        "the chain {chain} of {program}-{other} drops {} too: what {program}-{ours} lets through stays closed there",
        hook.packets()
    );
    let advice = format!("use one variant only: {program}-{other} -t {table} -P {chain} ACCEPT, and -F what it holds");
    Concern::minor(what, advice)
}
