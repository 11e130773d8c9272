//! Where keys and stanzas are.

use std::path::PathBuf;

use clap::ValueHint;

use super::super::layers::Layers;
use super::super::rc;
use super::own::Keyring;
use crate::cli::keys::Ended;
use crate::config::Complaints;
use crate::crypto::openpgp::gpgme::GnuPg;
use crate::time::Timestamp;

/// The options that say so.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Places {
    /// GnuPG home [default: that of the rc file's \[default\], or GnuPG's own]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub gpg_home_dir: Option<PathBuf>,
    /// rc file [default: ~/.fwknoprc]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub rc_file: Option<PathBuf>,
}

impl Places {
    /// The rc file, which need not be there.
    pub fn rc_file(&self) -> Result<PathBuf, Ended> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?).join(".fwknoprc"));
        let named = self.rc_file.clone().or_else(home);
        named.ok_or_else(|| Ended::usage("the rc file is not known: HOME is not set", "name it with --rc-file"))
    }

    /// The GnuPG that a knock would use, unless its stanza says otherwise.
    pub fn gpg(&self) -> Result<GnuPg, Ended> {
        let (mut layers, mut complaints) = (Layers::default(), Complaints::default());
        if let Some(path) = self.rc_file().ok().filter(|path| path.exists()) {
            rc::add_layers(&path, None, &mut layers, &mut complaints);
        }
        if complaints.has_errors() {
            return Err(complaints.into());
        }
        let said = |name| layers.text(name).map(PathBuf::from);
        Ok(GnuPg { home: self.gpg_home_dir.clone().or_else(|| said("GPG_HOMEDIR")), program: said("GPG_EXE") })
    }

    pub fn keyring(&self, now: Timestamp) -> Result<Keyring, Ended> {
        Keyring::open(self.gpg()?, now)
    }
}
