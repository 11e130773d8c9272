//! The name a user has on this system (`spec/wire.md` 2.4).

use std::fs;

/// `SPOOF_USER`, `LOGNAME`, the name of the account, `USER`: those that exist, best first.
pub fn names() -> Vec<String> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    // What is not UTF-8 cannot be sent either; shown in the error as well as it can be.
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let mut names: Vec<String> = ["SPOOF_USER", "LOGNAME"].into_iter().filter_map(variable).map(text).collect();
    names.extend(account_name());
    names.extend(variable("USER").map(text));
    names
}

fn account_name() -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    name_of(&passwd, rustix::process::getuid().as_raw())
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_names_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n+\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(name_of(passwd, 1).as_deref(), None);
    }
}
