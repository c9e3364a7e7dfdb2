//! Downloads an archive to a verified file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;

use md5::{Digest, Md5};
use robustseg_files::{hexadecimal, pieces};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::local::local;
use super::settings::{Fetch, FetchProgress, FetchStage};
use crate::archive::Archive;

/// The number of bytes read and written at a time.
const BLOCK: usize = 1 << 16;

/// The reason of a failure, and whether a retry may succeed.
struct Failure {
    reason: String,
    transient: bool,
}

impl Failure {
    fn transient(reason: String) -> Self {
        Self { reason, transient: true }
    }

    fn lasting(reason: String) -> Self {
        Self { reason, transient: false }
    }
}

impl Fetch {
    /// Downloads `archive` to `file` through a file with `.part` appended to its name, which stays
    /// if the download fails.
    pub(super) fn download(
        &self,
        archive: &Archive,
        file: &Path,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<(), String> {
        let part = with_end(file, ".part");
        let by_hand = |reason: String| {
            let file = file.display();
            format!(
                "{reason}. The part downloaded so far is kept; run the same command to resume. By hand: put the archive at {file}"
            )
        };
        loop {
            let begun = length(&part);
            self.complete(archive, &part, progress).map_err(by_hand)?;
            let found = md5_of(&part, progress)?;
            if found == archive.md5 {
                return std::fs::rename(&part, file).map_err(|error| local(file, &error));
            }
            std::fs::remove_file(&part).map_err(|error| local(&part, &error))?;
            // The existing part may be the beginning of another file. A complete download that is
            // wrong stays wrong.
            if begun == 0 {
                let (url, md5) = (&archive.url, &archive.md5);
                return Err(format!("{url} gives a file of MD5 {found}, not {md5}; it was removed"));
            }
        }
    }

    /// Downloads the rest of `archive`, with as many attempts as necessary while there is progress.
    fn complete(
        &self,
        archive: &Archive,
        part: &Path,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<(), String> {
        let timeout = Some(self.timeout);
        let trust = robustseg_trust::tls(self.certificates.as_deref())?;
        let agent: Agent = Agent::config_builder()
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .http_status_as_error(false)
            .tls_config(trust)
            .build()
            .into();
        let (mut furthest, mut failures, mut pause) = (length(part), 0, self.pause);
        loop {
            let failure = match self.attempt(&agent, archive, part, progress) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if length(part) > furthest {
                (furthest, failures, pause) = (length(part), 0, self.pause);
            }
            failures += 1;
            if !failure.transient {
                return Err(failure.reason);
            }
            if failures >= self.attempts {
                return Err(format!("{} (tried {failures} times)", failure.reason));
            }
            sleep(pause);
            pause *= 2;
        }
    }

    /// One request for the missing rest.
    fn attempt(
        &self,
        agent: &Agent,
        archive: &Archive,
        part: &Path,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<(), Failure> {
        let url = &archive.url;
        let there = length(part);
        if there > 0 && archive.bytes == Some(there) {
            return Ok(());
        }
        let mut request = agent.get(url).header("Accept-Encoding", "identity");
        if there > 0 {
            request = request.header("Range", format!("bytes={there}-"));
        }
        let response = request.call().map_err(|error| {
            let refused = robustseg_trust::refused_certificate(&error, self.certificates.as_deref());
            match refused {
                Some(reason) => Failure::lasting(format!("cannot reach {url}: {reason}")),
                None => Failure::transient(format!("cannot reach {url}: {error}")),
            }
        })?;
        let Some(from) = start(&response, there, url)? else {
            // Either the part is complete, or it does not belong to this file.
            let complete = whole_length(&response) == Some(there);
            return if complete { Ok(()) } else { Err(restart(part, url)) };
        };
        let coming = header(&response, "content-length").and_then(|length| length.parse::<u64>().ok());
        let total = coming.map(|coming| from + coming);
        if let (Some(total), Some(bytes)) = (total, archive.bytes)
            && total != bytes
        {
            return Err(Failure::lasting(format!(
                "{url} has {total} bytes, not {bytes}: it is another file"
            )));
        }
        let total = archive.bytes.or(total);
        let unwritable = |error| Failure::lasting(local(part, &error));
        let mut file = File::options().create(true).append(true).open(part).map_err(unwritable)?;
        if from == 0 && there > 0 {
            file.set_len(0).map_err(unwritable)?;
        }
        let mut body = response.into_body().into_reader();
        let (mut done, mut block) = (from, vec![0; BLOCK]);
        loop {
            let read = body.read(&mut block).map_err(|error| {
                Failure::transient(format!("{url} broke off after {done} bytes: {error}"))
            })?;
            if read == 0 {
                break;
            }
            done += read as u64;
            if done > total.unwrap_or(self.max_bytes) {
                return Err(Failure::lasting(format!(
                    "{url} sends more than {done} bytes: it is another file"
                )));
            }
            file.write_all(&block[..read]).map_err(unwritable)?;
            progress(FetchProgress { stage: FetchStage::Downloading, done, total: total.unwrap_or(0) });
        }
        match total {
            Some(total) if done < total => {
                Err(Failure::transient(format!("{url} broke off after {done} of {total} bytes")))
            }
            _ => file.sync_all().map_err(unwritable),
        }
    }
}

/// Where the body of a response belongs: at the beginning, or at `there` if the server resumes at
/// the requested offset. `None` if there is nothing to resume.
fn start(response: &Response<Body>, there: u64, url: &str) -> Result<Option<u64>, Failure> {
    let status = response.status();
    match status {
        StatusCode::OK => Ok(Some(0)),
        StatusCode::PARTIAL_CONTENT => {
            let range = header(response, "content-range").unwrap_or_default();
            Ok(range.starts_with(&format!("bytes {there}-")).then_some(there))
        }
        StatusCode::RANGE_NOT_SATISFIABLE if there > 0 => Ok(None),
        _ => {
            let transient = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
            Err(Failure { reason: format!("{url} answers {status}"), transient })
        }
    }
}

/// Discards the part.
fn restart(part: &Path, url: &str) -> Failure {
    match std::fs::remove_file(part) {
        Ok(()) => Failure::transient(format!("{url} does not support resuming")),
        Err(error) => Failure::lasting(local(part, &error)),
    }
}

/// The length of the whole file, from a response without content.
fn whole_length(response: &Response<Body>) -> Option<u64> {
    header(response, "content-range")?.strip_prefix("bytes */")?.parse().ok()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Size of a file in bytes, or 0 if it does not exist.
fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

/// The path with `end` appended to its name.
pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// MD5 of a file in hexadecimal digits, as announced by the archives' publishers.
pub(super) fn md5_of(path: &Path, progress: &dyn Fn(FetchProgress)) -> Result<String, String> {
    let total = length(path);
    let (mut hash, mut done) = (Md5::new(), 0);
    let file = File::open(path).map_err(|error| local(path, &error))?;
    pieces(
        file,
        |error| local(path, &error),
        |piece| {
            hash.update(piece);
            done += piece.len() as u64;
            progress(FetchProgress { stage: FetchStage::Verifying, done, total });
            Ok(())
        },
    )?;
    Ok(hexadecimal(&hash.finalize()))
}
