//! Decides which servers downloads trust, and recognises a refused certificate.
//!
//! By default Mozilla's root certificates, which are built in, decide. They do not suffice behind a
//! proxy that decrypts TLS or with a private mirror. A [file](certificate_file) of root
//! certificates then replaces them, as in OpenSSL and curl.

#[cfg(feature = "loopback")]
pub mod loopback;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// The environment variable that names a file of root certificates.
pub const CERTIFICATES: &str = "SSL_CERT_FILE";

/// The file named by [`CERTIFICATES`], if the variable is set.
pub fn certificate_file() -> Option<PathBuf> {
    std::env::var_os(CERTIFICATES).filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// A TLS configuration that trusts the root certificates in `file` (PEM), or Mozilla's without a
/// file.
///
/// # Errors
/// If the file cannot be read or contains no certificate.
pub fn tls(file: Option<&Path>) -> Result<TlsConfig, String> {
    let Some(file) = file else { return Ok(TlsConfig::default()) };
    let refuse = |reason: String| format!("{CERTIFICATES}: {} {reason}", file.display());
    let pem = std::fs::read(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(refuse("holds no certificate; it has to be a PEM file".into()));
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(certificates))).build())
}

/// If `error` is a refused certificate, explains why it was refused and what to do. A retry does
/// not help.
pub fn refused_certificate(error: &ureq::Error, file: Option<&Path>) -> Option<String> {
    let cause = match error {
        ureq::Error::Rustls(cause) => cause,
        ureq::Error::Io(cause) => cause.get_ref().and_then(|cause| find(cause))?,
        _ => return None,
    };
    let (rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) = cause else {
        return None;
    };
    let advice = match file {
        None => format!(
            "if a proxy or a mirror of yours signs for it, name the file of its root certificate in {CERTIFICATES}"
        ),
        Some(file) => format!(
            "{CERTIFICATES} names {}, which has to hold the root certificate that signs for it",
            file.display()
        ),
    };
    Some(format!("its certificate is refused ({cause}); {advice}"))
}

/// The TLS error in a chain of causes.
fn find<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    cause.downcast_ref().or_else(|| find(cause.source()?))
}

#[cfg(test)]
mod tests {
    use super::loopback::Server;
    use super::*;

    /// The response of a server with its own certificate to a client that trusts those in `file`.
    fn get(server: &Server, file: Option<&Path>) -> Result<String, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls(file).unwrap()).build().into();
        agent.get(&server.address).call()?.body_mut().read_to_string()
    }

    #[test]
    fn a_certificate_is_refused_until_the_file_of_its_root_is_named() {
        let server = Server::start(b"hello");
        let refused = |file: Option<&Path>| {
            let error = get(&server, file).unwrap_err();
            refused_certificate(&error, file).unwrap_or_else(|| panic!("{error:?}"))
        };
        let told = refused(None);
        assert!(told.contains("certificate is refused") && told.contains("in SSL_CERT_FILE"), "{told}");
        assert_eq!(get(&server, Some(&Server::certificate())).unwrap(), "hello");
        // The certificate of another server.
        let other = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/files/other.pem"));
        assert!(refused(Some(other)).contains("files/other.pem, which has to hold"));
    }

    #[test]
    fn other_errors_are_not_certificate_errors() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = ureq::get(format!("https://{closed}")).call().unwrap_err();
        assert_eq!(refused_certificate(&error, None), None, "{error:?}");
        let plain = std::io::Error::from(std::io::ErrorKind::InvalidData);
        assert_eq!(refused_certificate(&ureq::Error::Io(plain), None), None);
    }

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roots.pem");
        let told = tls(Some(&file)).unwrap_err();
        assert!(told.starts_with("SSL_CERT_FILE: ") && told.contains("roots.pem cannot be read"), "{told}");
        for content in ["", "-----BEGIN CERTIFICATE-----\nhalf", "no PEM"] {
            std::fs::write(&file, content).unwrap();
            let told = tls(Some(&file)).unwrap_err();
            assert!(told.contains("roots.pem holds no certificate"), "{told}");
        }
    }
}
