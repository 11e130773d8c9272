//! How lines reach `iptables-restore`, and which program that is.

use std::path::{Path, PathBuf};

use crate::firewall::{Command, Line};

/// One transaction.
pub fn transaction(lines: &[&Line]) -> Command {
    let mut script = format!("*{}\n", lines.first().map_or("filter", |line| &*line.table));
    let mut jumps: Vec<&str> = Vec::new();
    for jump in lines.iter().filter_map(|line| line.jump.as_deref()) {
        if !jumps.contains(&jump) {
            jumps.push(jump);
            script.push_str(&format!("-C {jump}\n"));
        }
    }
    for line in lines {
        script.push_str(&line.text);
        script.push('\n');
    }
    script.push_str("COMMIT\n");
    Command::new(lines.first().map_or("iptables-restore", |line| line.program), ARGS).with_stdin(script)
}

/// The line that the program names: `iptables-restore: line 2 failed`.
pub fn refused_line(command: &Command, said: &str) -> Option<String> {
    let (_, rest) = said.split_once("line ").or_else(|| said.split_once("line: "))?;
    let number: usize =
        rest.trim_start_matches([':', ' ']).split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    command.stdin.as_deref()?.lines().nth(number.checked_sub(1)?).map(str::to_owned)
}

/// So many lines are a message that the kernel takes from everybody, also from a root without rights outside of his
/// namespace, as in a container. Each says its rule in full, also one that removes it.
pub const AT_ONCE: usize = 200;

/// What is there stays; a lock that somebody holds is waited for, in seconds.
pub const ARGS: [&str; 3] = ["--noflush", "-w", "10"];

/// The program a step names, beside `FIREWALL_EXE`: with `/sbin/iptables-legacy` it is `/sbin/ip6tables-legacy-restore`
/// instead of `ip6tables-restore`.
pub fn program(exe: Option<&Path>, name: &str) -> PathBuf {
    // That of firewalld is none of these.
    let Some(exe) = exe.filter(|exe| !exe.ends_with("firewall-cmd")) else { return name.into() };
    let exe_name = exe.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let variant = ["ip6tables", "iptables"].iter().find_map(|family| exe_name.strip_prefix(family));
    let wanted = ["ip6tables", "iptables"].iter().find_map(|family| Some((*family, name.strip_prefix(family)?)));
    match (variant, wanted) {
        // It is of another variant, or of nftables.
        (Some(_), Some((_, verb))) if ["-legacy", "-nft"].iter().any(|named| verb.starts_with(named)) => name.into(),
        (Some(_), None) => name.into(),
        (Some(variant), Some((family, verb))) => exe.with_file_name(format!("{family}{variant}{verb}")),
        _ => exe.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_of_one_variant_stand_side_by_side() {
        let of = |exe: &str, name| program(Some(Path::new(exe)), name).display().to_string();
        assert_eq!(of("/usr/sbin/iptables-legacy", "ip6tables-restore"), "/usr/sbin/ip6tables-legacy-restore");
        assert_eq!(of("/usr/sbin/ip6tables", "iptables-save"), "/usr/sbin/iptables-save");
        assert_eq!(of("/sbin/iptables-nft", "iptables"), "/sbin/iptables-nft");
        assert_eq!(of("/usr/sbin/nft", "nft"), "/usr/sbin/nft");
        assert_eq!(of("/opt/iptables-legacy", "nft"), "nft");
        assert_eq!(of("/usr/bin/firewall-cmd", "iptables-restore"), "iptables-restore");
        assert_eq!(of("/opt/iptables-legacy", "iptables-nft-save"), "iptables-nft-save");
        assert_eq!(program(None, "iptables-save"), Path::new("iptables-save"));
    }

    #[test]
    fn the_refused_line_is_named() {
        let line = |text: &str| Line {
            program: "iptables-restore",
            table: "filter".to_owned(),
            jump: Some("INPUT -j FWKNOP_INPUT".to_owned()),
            text: text.to_owned(),
            bounded: true,
        };
        let (first, second) = (line("-A FWKNOP_INPUT x"), line("-A FWKNOP_INPUT y"));
        let command = transaction(&[&first, &second]);
        assert_eq!(
            command.stdin.as_deref(),
            Some("*filter\n-C INPUT -j FWKNOP_INPUT\n-A FWKNOP_INPUT x\n-A FWKNOP_INPUT y\nCOMMIT\n")
        );
        let named = |said| refused_line(&command, said).unwrap_or_default();
        assert_eq!(named("iptables-restore: line 2 failed"), "-C INPUT -j FWKNOP_INPUT");
        assert_eq!(named("iptables-nft-restore: line 4 failed: Bad rule."), "-A FWKNOP_INPUT y");
        assert_eq!(named("no such thing; Error occurred at line: 3; Try"), "-A FWKNOP_INPUT x");
        assert_eq!(named("Another app is currently holding the xtables lock"), "");
    }
}
