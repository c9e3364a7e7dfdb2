//! The specs of a sweep's runs, as the runs read them.
//!
//! A sweep may grow. Changes in runs that have begun are refused, or, if they decide no weight,
//! taken on demand.

use std::fs;

use anyhow::Context;
use robustseg_files::{create_folders, write_atomically};

use super::{Series, is_begun};
use crate::exit::Usage;
use crate::identity;
use crate::inputs::is_folder;
use crate::lock::Lock;
use crate::record::Written;
use crate::spec::{Member, Spec};

/// Which changes of specs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// None in runs that have begun.
    Refused,
    /// Those that decide no weight.
    Harmless,
    /// All, because the runs start over.
    All,
}

impl Series {
    /// Writes the specs of all runs. Returns the lock of the sweep, under which nothing else changes
    /// them.
    ///
    /// # Errors
    /// [`Usage`] if the folder holds something else, or if `changes` does not allow a difference to
    /// an earlier sweep in the folder. Nothing is written then.
    pub(crate) fn freeze(&self, changes: Changes) -> anyhow::Result<Lock> {
        self.check(changes)?;
        let own = self.own();
        create_folders(&own.join("specs")).with_context(|| format!("making {}", own.display()))?;
        let lock = Lock::take(&own)?;
        self.check(changes)?;
        for member in &self.members {
            let (path, text) = (self.spec(&member.name), member.spec.to_yaml()?);
            if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
                write_atomically(&path, text.as_bytes())
                    .with_context(|| format!("writing {}", path.display()))?;
            }
        }
        for name in self.others()? {
            let path = self.spec(&name);
            fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))?;
        }
        Ok(lock)
    }

    fn check(&self, changes: Changes) -> anyhow::Result<()> {
        let shown = self.path.display();
        if !is_folder(&self.path, "--out")? {
            return Ok(());
        }
        if is_begun(&self.path) {
            return refuse(format!("{shown} holds a single run; take another --out for several runs"));
        }
        if let Some(written) = Written::read(&self.path)? {
            return refuse(format!(
                "{shown} holds the results of `{}`; take another --out",
                written.command()
            ));
        }
        if changes == Changes::All {
            return Ok(());
        }
        for member in self.members.iter().filter(|member| is_begun(&self.run(&member.name))) {
            self.check_change(member, changes)?;
        }
        let begun: Vec<String> =
            self.others()?.into_iter().filter(|name| is_begun(&self.run(name))).collect();
        if let Some(first) = begun.first().filter(|_| changes == Changes::Refused) {
            let more = if begun.len() > 1 { format!(" and {} more", begun.len() - 1) } else { String::new() };
            return refuse(format!(
                "{shown} has the run {first}{more}, which the sweep no longer has; take another --out, or leave old runs \
                 where they are, outside the comparison, with --update"
            ));
        }
        Ok(())
    }

    /// Refuses a change in a run that has begun.
    fn check_change(&self, member: &Member, changes: Changes) -> anyhow::Result<()> {
        let path = self.spec(&member.name);
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        if text == member.spec.to_yaml()? {
            return Ok(());
        }
        let (run, name) = (self.run(&member.name), &member.name);
        let Ok(then) = Spec::parse(&text, &[]) else {
            return refuse(format!(
                "{}: cannot be read any more, and the run {name} has begun with it; take another --out",
                path.display()
            ));
        };
        let (then, now) = (identity::of_spec(&then), identity::of_spec(&member.spec));
        let differences = then.differences(&now);
        if then.changed(&now).iter().any(|key| identity::decides_weights(key, &member.spec)) {
            return refuse(format!(
                "the run {name} has begun with another spec: {differences}; take another --out, go back to what it was, \
                 or delete {}",
                run.display()
            ));
        }
        if changes == Changes::Refused {
            return refuse(format!(
                "the run {name} has begun with another spec: {differences}; this changes no weight, and with --update \
                 such runs are evaluated again; or take another --out"
            ));
        }
        Ok(())
    }

    /// The runs whose specs are in the folder and that the sweep does not have.
    fn others(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.own().join("specs");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
        let names = entries.filter_map(|entry| {
            Some(entry.ok()?.file_name().into_string().ok()?.strip_suffix(".yaml")?.to_owned())
        });
        let is_other = |name: &String| !self.members.iter().any(|member| member.name == *name);
        let mut others: Vec<String> = names.filter(is_other).collect();
        others.sort();
        Ok(others)
    }
}

fn refuse<T>(message: String) -> anyhow::Result<T> {
    Err(Usage(message).into())
}
