//! The admin address: metrics, health and the API for operators. Never on the client address.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::proxy::{Shared, Site};
use crate::server::{Handler, Peer, Refusal};

/// The admin service.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    #[allow(dead_code)]
    sites: Box<dyn Fn() -> Vec<Arc<Site>> + Send + Sync>,
}

impl Admin {
    /// A service that shows `shared` and the sites that `sites` gives.
    pub fn new(shared: Arc<Shared>, sites: impl Fn() -> Vec<Arc<Site>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { shared, sites: Box::new(sites) }))
    }
}

impl Handler for Admin {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, _: Arc<Peer>) -> Response<Full<Bytes>> {
        let mut response = match request.uri().path() {
            "/metrics" => Response::new(Full::from(self.0.shared.registry.render())),
            "/healthz" | "/readyz" => Response::new(Full::from("ok\n")),
            _ => Response::new(Full::from("not found\n")),
        };
        if !["/metrics", "/healthz", "/readyz"].contains(&request.uri().path()) {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }

    fn refused(&self, refusal: Refusal, _: &Peer) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(refusal.message()));
        *response.status_mut() = refusal.status();
        response
    }
}
