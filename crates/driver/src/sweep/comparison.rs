//! The comparison of the finished runs, one for each way to evaluate.

use std::path::PathBuf;

use serde_json::json;

use super::{Series, State};
use crate::pages::{self, Comparison};
use crate::spec::{COMPARISON, Member, Spec};

/// Runs that are evaluated alike.
struct Group<'a> {
    /// The folder of their comparison.
    folder: String,
    members: Vec<&'a Member>,
}

impl Series {
    /// Compares the finished runs of each group that has any. Returns the comparisons with their
    /// pages.
    ///
    /// # Errors
    /// Those of [`pages::compare`], and if the folder of a comparison holds something else.
    pub(crate) fn compare(&self) -> anyhow::Result<Vec<(Comparison, PathBuf)>> {
        let mut written = Vec::new();
        for group in self.groups() {
            let mut runs = Vec::new();
            for member in group.members {
                if self.state(member)? == State::Done {
                    runs.push(self.run(&member.name));
                }
            }
            if runs.is_empty() {
                continue;
            }
            written.push(pages::compare_in(&runs, &self.path.join(group.folder))?);
        }
        Ok(written)
    }

    /// The runs in groups that are evaluated alike. A group is named after the values that all its
    /// runs share, and not all runs of the sweep.
    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<(String, Vec<&Member>)> = Vec::new();
        for member in &self.members {
            let protocol = protocol(&member.spec);
            match groups.iter_mut().find(|(known, _)| *known == protocol) {
                Some((_, members)) => members.push(member),
                None => groups.push((protocol, vec![member])),
            }
        }
        let several = groups.len() > 1;
        let mut found: Vec<Group<'_>> = Vec::new();
        for (_, members) in groups {
            let first = members[0];
            let shared = first.values.iter().enumerate().filter(|(axis, value)| {
                let is_shared = |member: &&Member| member.values[*axis] == **value;
                members.iter().all(is_shared) && !self.members.iter().all(|member| is_shared(&member))
            });
            let shared: Vec<&str> = shared.map(|(_, (_, value))| value.as_str()).collect();
            let mut folder = match shared.join("-") {
                _ if !several => COMPARISON.to_owned(),
                shared if shared.is_empty() => format!("{COMPARISON}-{}", found.len() + 1),
                shared => format!("{COMPARISON}-{shared}"),
            };
            if found.iter().any(|group| group.folder == folder) {
                folder = format!("{folder}-{}", found.len() + 1);
            }
            found.push(Group { folder, members });
        }
        found
    }
}

/// Everything in which runs must agree to stand in one comparison.
fn protocol(spec: &Spec) -> String {
    let evaluation = &spec.evaluation;
    json!({
        "manifest": spec.data.manifest,
        "root": spec.data.root,
        "split": spec.evaluation_split(),
        "limit": evaluation.limit,
        "protocol": evaluation.protocol,
        "window": evaluation.window,
        "curves": evaluation.curves,
        "sources": evaluation.sources,
    })
    .to_string()
}
