//! Who a command runs as.

use std::path::PathBuf;

use nix::unistd::{Uid, User};
use tokio::process::Command;

/// A user of this machine, other than the one that the executor runs as.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
    shell: PathBuf,
}

/// Why a command cannot run as somebody.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    #[error("there is no user {user:?} on this machine: create it, or choose another pool")]
    Unknown { user: String },
    #[error(
        "the executor may not become the user {user:?}: run it as root or as that user, or choose another pool"
    )]
    NotAllowed { user: String },
    #[error("cannot look up the user {user:?}: {cause}")]
    Lookup { user: String, cause: nix::Error },
}

impl Identity {
    /// Looks a user up by name, or by number where no user has that name. None: the executor is that user already.
    pub(super) fn of(user: &str) -> Result<Option<Self>, IdentityError> {
        let lookup = |cause| IdentityError::Lookup { user: user.to_owned(), cause };
        let mut found = User::from_name(user).map_err(lookup)?;
        if found.is_none()
            && let Ok(uid) = user.parse()
        {
            found = User::from_uid(Uid::from_raw(uid)).map_err(lookup)?;
        }
        let found = found.ok_or_else(|| IdentityError::Unknown { user: user.to_owned() })?;
        if found.uid == Uid::effective() {
            return Ok(None);
        }
        Ok(Some(Self {
            name: found.name,
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
            home: found.dir,
            shell: found.shell,
        }))
    }

    /// Has the command run as this user. The supplementary groups of a privileged executor are dropped on the way.
    pub(super) fn assume(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
        command.env("HOME", &self.home).env("SHELL", &self.shell);
        command.env("USER", &self.name).env("LOGNAME", &self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executor_need_not_become_itself() {
        let uid = Uid::effective().as_raw();
        assert!(Identity::of(&uid.to_string()).unwrap().is_none());
    }

    #[test]
    fn says_that_a_user_is_missing() {
        let error = Identity::of("nobody-has-this-name").unwrap_err().to_string();
        assert!(error.starts_with("there is no user \"nobody-has-this-name\""), "{error}");
    }
}
