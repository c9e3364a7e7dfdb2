//! The report's table of provenance.

use robustseg_evaluation::Scope;
use robustseg_words::counted;

use crate::draw::table::{Cell, Table};
use crate::draw::time::utc;
use crate::provenance::Provenance;

/// Commands, versions, machine, data and checkpoint of `provenance`. `scope` says how many images
/// were evaluated.
pub(super) fn table(provenance: &Provenance, scope: &Scope) -> Table {
    let Provenance { fingerprint, seed, data, invocations, .. } = provenance;
    let mut table = Table::new("", ["what", "value"]);
    let mut row = |what: &str, value: String| table.rows.push(vec![Cell::text(what), Cell::Text(value)]);
    for invocation in invocations {
        row("started", utc(invocation.time));
        row("command", invocation.command.join(" "));
        row("commit", invocation.commit.clone());
        row("versions", format!("robustseg {}, candle {}", invocation.robustseg, invocation.candle));
        row("machine", format!("{}, {}", invocation.platform, invocation.device));
        row("threads on the CPU", invocation.threads.to_string());
        row("changed before the start", invocation.changes.join("; "));
    }
    // The spec of an evaluation has a seed, too, but it trained nothing.
    row("seed", if provenance.checkpoint.is_none() { seed.to_string() } else { String::new() });
    row("fingerprint of the run", fingerprint.clone());
    row("manifest", format!("{}, SHA-256 {}", data.manifest, data.manifest_sha256));
    row("data", data.root.clone());
    if let Some(cache) = &data.cache {
        row("decoded samples from", cache.clone());
    }
    if let Some(checkpoint) = &provenance.checkpoint {
        row("checkpoint", format!("{}, SHA-256 {}", checkpoint.path, checkpoint.sha256));
        row("weights", checkpoint.origin_in_words());
    }
    row("decoder", data.decoder.clone());
    for split in &data.splits {
        let images = scope.images.filter(|_| scope.split.as_ref() == Some(&split.name));
        let evaluated = images.map_or(String::new(), |images| format!(", {images} of them evaluated"));
        row(
            "split",
            format!(
                "{}: {}{evaluated}, SHA-256 of the ids {}, of the content {}",
                split.name,
                counted(split.samples, "sample"),
                split.ids_sha256,
                split.content_sha256
            ),
        );
    }
    table.rows.retain(|row| row[1] != Cell::text(""));
    table
}
