//! The HTTP client of webhooks and pings. The only user of `reqwest` in the server.

use std::time::Duration;

use reqwest::{Client, ClientBuilder};

/// Limit of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that trusts the certificates that the system trusts; where there are none, only `http://` works.
pub(super) fn client(timeout: Duration) -> Option<Client> {
    // An error says that the process has chosen a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = || -> ClientBuilder {
        Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("belfry/", env!("CARGO_PKG_VERSION")))
    };
    let built = settings().build().or_else(|error| {
        tracing::warn!(%error, "no certificate authorities: webhooks and pings by https will fail");
        settings().tls_certs_only([]).build()
    });
    built.map_err(|error| tracing::error!(%error, "no HTTP client: webhooks and pings are off")).ok()
}
