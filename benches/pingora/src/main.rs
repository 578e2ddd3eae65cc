//! The least that forwards HTTP/1.1 with `pingora-proxy`: one worker, one upstream, no routing, no log.
//!
//! Ports are those of `benches/bootstraps/`.

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Forward;

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            "127.0.66.2:21080",
            false,
            String::new(),
        )))
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--version") {
        println!("pingora-minimal over pingora-proxy 0.9.1");
        return;
    }
    let configuration = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 128,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Forward);
    service.add_tcp("127.0.66.1:21001");
    server.add_service(service);
    server.run_forever();
}
