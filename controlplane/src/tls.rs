//! Whose certificate is trusted: the system's authorities', those of `ca_file`, or the very certificates of `ca_file`, since many an
//! appliance signed its own. Notes what it saw, for a doctor. Reads files, and calls nobody.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

/// A certificate that is over within this time is worth a warning.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 86_400);

/// What the last handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Why it is trusted.
    pub(crate) trust: Trust,
    /// SHA-256 of the certificate, as browsers show it.
    pub(crate) fingerprint: String,
    /// Whether it is over soon.
    pub(crate) expires_soon: bool,
}

/// Why a certificate is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// An authority of the system vouches for it.
    System,
    /// One of `ca_file` does.
    CaFile,
    /// It is in `ca_file` itself.
    Itself,
    /// It is not looked at: `insecure`.
    Insecure,
}

/// What the last handshake showed; none before the first.
pub(crate) type LastSeen = Arc<Mutex<Option<Seen>>>;

/// TLS that trusts the system's authorities, or what is in `ca_file`, or (`insecure`) anybody; and where it notes what it saw. Says
/// what is wrong with the file.
pub(crate) fn config(ca_file: Option<&Path>, insecure: bool) -> Result<(ClientConfig, LastSeen), String> {
    let provider = Arc::new(ring::default_provider());
    let seen = LastSeen::default();
    let verifier = Verifier {
        roots: if insecure { None } else { Some(roots(ca_file, &provider)?) },
        is_from_file: ca_file.is_some(),
        provider: Arc::clone(&provider),
        seen: Arc::clone(&seen),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok((config, seen))
}

fn roots(ca_file: Option<&Path>, provider: &Arc<CryptoProvider>) -> Result<Roots, String> {
    let mut store = RootCertStore::empty();
    let mut known = Vec::new();
    if let Some(path) = ca_file {
        let bad = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(bad)? {
            known.push(certificate.map_err(bad)?);
        }
        if known.is_empty() {
            return Err(format!("{}: no certificate in PEM in it", path.display()));
        }
        // What is no authority is good for itself alone.
        store.add_parsable_certificates(known.iter().cloned());
    } else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if store.is_empty() && known.is_empty() {
        let none = "the system has no certificates of authorities: name those to trust in ca_file";
        return Err(none.to_owned());
    }
    let verifier = match store.is_empty() {
        true => None,
        false => {
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
            Some(builder.build().map_err(|error| error.to_string())?)
        }
    };
    Ok(Roots { known, verifier })
}

/// An error with all that it came of: why a handshake failed lies deep in it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

#[derive(Debug)]
struct Roots {
    /// Certificates of `ca_file`.
    known: Vec<CertificateDer<'static>>,
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

#[derive(Debug)]
struct Verifier {
    /// None: any certificate will do.
    roots: Option<Roots>,
    is_from_file: bool,
    provider: Arc<CryptoProvider>,
    seen: LastSeen,
}

impl Verifier {
    fn note(&self, trust: Trust, certificate: &CertificateDer<'_>, expires_soon: bool) -> ServerCertVerified {
        let digest = ::ring::digest::digest(&::ring::digest::SHA256, certificate);
        let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let seen = Seen { trust, fingerprint: bytes.join(":"), expires_soon };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        ServerCertVerified::assertion()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(roots) = &self.roots else { return Ok(self.note(Trust::Insecure, end_entity, false)) };
        if roots.known.iter().any(|known| known.as_ref() == end_entity.as_ref()) {
            return Ok(self.note(Trust::Itself, end_entity, false));
        }
        let Some(verifier) = &roots.verifier else { return Err(CertificateError::UnknownIssuer.into()) };
        let verify = |at| verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at);
        verify(now)?;
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + EXPIRES_SOON);
        let trust = if self.is_from_file { Trust::CaFile } else { Trust::System };
        Ok(self.note(trust, end_entity, verify(soon).is_err()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
