//! Fetches an address, trusting the root certificates in `SSL_CERT_FILE` if that is set:
//! `cargo run -p robustseg-trust --example get -- https://example.org`.

use robustseg_trust::{certificate_file, refused_certificate, tls};

fn main() -> Result<(), String> {
    let address = std::env::args().nth(1).ok_or("which address?")?;
    let file = certificate_file();
    let trust = tls(file.as_deref())?;
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(trust).build().into();
    let mut response = agent
        .get(&address)
        .call()
        .map_err(|error| refused_certificate(&error, file.as_deref()).unwrap_or_else(|| error.to_string()))?;
    let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
    println!("{} bytes", text.len());
    Ok(())
}
