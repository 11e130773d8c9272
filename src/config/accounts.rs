//! Users and groups of this system, by name.

use std::fs;
use std::process::{Command, Stdio};

use crate::grant::Account;

/// A user and its own group.
pub fn user(name: &str) -> Option<Account> {
    let fields = entry("/etc/passwd", "passwd", name)?;
    Some(Account { name: name.to_owned(), id: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
}

/// A group, or as in the original the group of the user of that name.
pub fn group(name: &str) -> Option<Account> {
    let number = entry("/etc/group", "group", name).and_then(|fields| fields.get(2)?.parse().ok());
    let gid = number.or_else(|| user(name).map(|user| user.gid))?;
    Some(Account { name: name.to_owned(), id: gid, gid })
}

/// The fields of a line: of the file, or else of what other sources of names know (NSS).
fn entry(file: &str, database: &str, name: &str) -> Option<Vec<String>> {
    // A name of another form is in no file, and could be read as an option or a number.
    let plain = |c: char| c.is_alphanumeric() || "._-@$".contains(c);
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') || !name.chars().all(plain) {
        return None;
    }
    let line = |text: &str| {
        let fields = text.lines().map(|line| line.split(':'));
        fields.map(|fields| fields.map(str::to_owned).collect::<Vec<_>>()).find(|fields| fields[0] == name)
    };
    fs::read_to_string(file).ok().and_then(|text| line(&text)).or_else(|| {
        let output = Command::new("getent").args([database, name]).stdin(Stdio::null()).output().ok()?;
        line(std::str::from_utf8(&output.stdout).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name() {
        let root = Account { name: "root".to_owned(), id: 0, gid: 0 };
        assert_eq!(user("root"), Some(root.clone()));
        assert_eq!(group("root"), Some(root));
        // A group without a user of its name, which the original does not find.
        assert_eq!((user("tty"), group("tty").map(|tty| tty.gid)), (None, Some(5)));
        // A user without a group of its name, which the original takes.
        let nobody = user("nobody").unwrap();
        assert_eq!(group("nobody").unwrap().gid, nobody.gid);
        for missing in ["no-such-name", "", "0", "-h", "root:x"] {
            assert_eq!((user(missing), group(missing)), (None, None), "{missing:?}");
        }
    }
}
