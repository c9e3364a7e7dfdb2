//! Downloads from the Hugging Face hub, into the cache folder that its other clients share.
//!
//! `hf-hub` builds the requests and knows the cache's layout. This module adds time-outs, retries,
//! a check of the hash and atomic writes to the cache, which `hf-hub` 0.5 lacks. Its version 1.0 is
//! asynchronous inside and brings 284 crates instead of 64, for one file that is fetched once.

use crate::failure::Failure;
use crate::hub_file::{FILE, Fetched, HubFile};
use crate::store::Store;
use crate::{Error, Result};
use hf_hub::Cache;
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use robustseg_files::is_hexadecimal;
use robustseg_words::plain;
use serde::Deserialize;
use std::env;
use std::io::Read;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// The address of the hub, its cache, and how patiently to download.
#[derive(Clone)]
pub struct Hub {
    /// Address of the hub, without a slash at the end; `None` for the public one.
    pub endpoint: Option<String>,
    /// Folder of the cache, shared with other programs.
    pub cache: PathBuf,
    /// Token for repositories that need one.
    pub token: Option<String>,
    /// Whether to use the cache alone.
    pub offline: bool,
    /// Longest wait for a connection, for a response, and for each piece of its body.
    pub timeout: Duration,
    /// Number of tries before giving up, at least 1.
    pub attempts: u32,
    /// Pause after the first try. It doubles with each further one.
    pub pause: Duration,
    /// A file of root certificates (PEM) to trust instead of Mozilla's.
    pub certificates: Option<PathBuf>,
}

impl Hub {
    /// The hub as the environment describes it: the address `HF_ENDPOINT`; the cache folder
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `hub` in `huggingface` in `XDG_CACHE_HOME` or
    /// `~/.cache`; the token `HF_TOKEN`, else the file `token` in `HF_HOME`; offline if
    /// `HF_HUB_OFFLINE` is `1`, `on`, `yes` or `true`; root certificates `SSL_CERT_FILE`. Empty
    /// variables are ignored.
    pub fn from_environment() -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let home = variable("HF_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(variable("XDG_CACHE_HOME")?).join("huggingface")));
        let default = home.map_or_else(Cache::default, |home| Cache::new(home.join("hub")));
        let is_on = |value: String| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str());
        Self {
            endpoint: variable("HF_ENDPOINT").map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            token: variable("HF_TOKEN").or_else(|| default.token()),
            cache: variable("HF_HUB_CACHE").map_or_else(|| default.path().clone(), PathBuf::from),
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_on),
            timeout: Duration::from_secs(20),
            attempts: 4,
            pause: Duration::from_millis(500),
            certificates: robustseg_trust::certificate_file(),
        }
    }

    /// Fetches the weights `file` from the cache, or else from the hub, and checks their hash.
    ///
    /// # Errors
    /// [`Error::Pretrained`] if they are not in the cache and cannot be downloaded, or do not have
    /// the pinned or announced hash. The cache is then unchanged.
    pub fn fetch(&self, file: &HubFile) -> Result<Fetched> {
        let store = Store::new(&self.cache, file);
        let refuse = |reason: String| {
            let by_hand = format!(
                "Looked in the cache {}. Without a network: download {FILE} of {} by hand and give its path instead",
                self.cache.display(),
                file.repository
            );
            Error::Pretrained { weights: file.to_string(), reason: format!("{reason}. {by_hand}") }
        };
        match store.cached() {
            Some(Ok(fetched)) => return Ok(fetched),
            Some(Err(reason)) if self.offline => return Err(refuse(reason)),
            None if self.offline => {
                return Err(refuse("not in the cache, and HF_HUB_OFFLINE allows nothing else".into()));
            }
            Some(Err(reason)) => tracing::warn!(weights = %file, reason, "downloading again"),
            None => {}
        }
        let repository = self.repository(file).map_err(refuse)?;
        let (commit, announced) = match (&file.revision, &file.sha256) {
            (Some(revision), Some(sha256)) => (revision.clone(), Some(sha256.clone())),
            _ => self.patiently(|| self.listing(&repository)).map_err(refuse)?.pins().map_err(refuse)?,
        };
        let expected = file.sha256.clone().or(announced);
        let repository =
            self.repository(&HubFile { revision: Some(commit.clone()), ..file.clone() }).map_err(refuse)?;
        tracing::info!(weights = %file, revision = commit, "downloading {FILE}");
        let download = || {
            let body = self.get(&repository, Wanted::File)?;
            store.put(body, &commit, expected.as_deref())
        };
        let fetched = self.patiently(download).map_err(refuse)?;
        if file.revision.is_none() || file.sha256.is_none() {
            tracing::warn!(
                pinned = fetched.pinned,
                "pretrained weights are not pinned; put this into the spec"
            );
        }
        Ok(fetched)
    }

    fn repository(&self, file: &HubFile) -> Result<ApiRepo, String> {
        let mut api = ApiBuilder::from_cache(Cache::new(self.cache.clone())).with_token(self.token.clone());
        if let Some(endpoint) = &self.endpoint {
            api = api.with_endpoint(endpoint.clone());
        }
        let api = api.build().map_err(|error| format!("no connection can be set up: {error}"))?;
        Ok(api.repo(file.repo()))
    }

    fn listing(&self, repository: &ApiRepo) -> Result<Listing, Failure> {
        let body = self.get(repository, Wanted::Listing)?;
        serde_json::from_reader(body).map_err(|error| {
            let reason =
                format!("the hub's description of the repository is not understood: {}", plain(&error));
            Failure { reason, transient: error.is_io() || error.is_eof() }
        })
    }

    /// The body of the hub's response.
    fn get(&self, repository: &ApiRepo, wanted: Wanted) -> Result<impl Read, Failure> {
        let request = repository.info_request();
        let (request, address) = match wanted {
            Wanted::Listing => (request.query("blobs", "true"), "the repository's description".to_owned()),
            Wanted::File => (request.uri(repository.url(FILE)), repository.url(FILE)),
        };
        let timeout = Some(self.timeout);
        let trust = robustseg_trust::tls(self.certificates.as_deref()).map_err(Failure::lasting)?;
        let response = request
            .config()
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .http_status_as_error(false)
            .tls_config(trust)
            .build()
            .call()
            .map_err(|error| {
                let refused = robustseg_trust::refused_certificate(&error, self.certificates.as_deref());
                match refused {
                    Some(reason) => Failure::lasting(format!("cannot reach the hub for {address}: {reason}")),
                    None => Failure::transient(format!("cannot reach the hub for {address}: {error}")),
                }
            })?;
        let status = response.status();
        let because = match status.as_u16() {
            200 => return Ok(response.into_body().into_reader()),
            401 | 403 => "; the repository needs a token: set HF_TOKEN",
            404 => "; there is no such repository, revision or file",
            _ => "",
        };
        let reason = format!("the hub answers {status} for {address}{because}");
        Err(Failure { reason, transient: status.is_server_error() || status.as_u16() == 429 })
    }

    /// Repeats `attempt` after transient failures, with growing pauses.
    fn patiently<T>(&self, attempt: impl Fn() -> Result<T, Failure>) -> Result<T, String> {
        let mut pause = self.pause;
        for number in 1.. {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure { reason, transient: false }) => return Err(reason),
                Err(Failure { reason, .. }) if number >= self.attempts => {
                    return Err(format!("{reason} (tried {number} times)"));
                }
                Err(Failure { reason, .. }) => tracing::info!(reason, "trying again"),
            }
            sleep(pause);
            pause *= 2;
        }
        unreachable!("the loop ends by returning")
    }
}

#[derive(Clone, Copy)]
enum Wanted {
    Listing,
    File,
}

/// The parts used here of the hub's description of a repository at a revision.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
}

impl Listing {
    /// The commit, and the weights' hash if the hub announces it.
    fn pins(self) -> Result<(String, Option<String>), String> {
        let file = self.siblings.into_iter().find(|sibling| sibling.rfilename == FILE);
        let sha256 = file.ok_or(format!("the repository has no {FILE}"))?.lfs.map(|lfs| lfs.sha256);
        if !is_hexadecimal(&self.sha, 40) || sha256.as_ref().is_some_and(|hash| !is_hexadecimal(hash, 64)) {
            return Err("the hub announces an invalid revision or hash".into());
        }
        Ok((self.sha, sha256))
    }
}
