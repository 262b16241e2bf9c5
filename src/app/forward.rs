//! Forward proxies: which CONNECT is served here, which is passed through, and which refused.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::AppError;
use super::core::Core;
use crate::config::{ForwardSettings, Intercept, Settings};
use crate::proxy::{
    self, Body, ConnectCounters, ConnectOutcome, Failure, Front, Proxy, Shared, TunnelLimits, Tunnels, Via,
};
use crate::semantics::authority::{Authority, Hosts, Target};
use crate::server::certs::Mint;
use crate::server::{
    FreshTls, Handler, Inside, InsideTls, Listener, Peer, Protocols, Refusal, ServerError, minted_tls_config,
};
use crate::upstream::{self, CallCounter, DialError};

/// Resolving the name of a host and connecting to it, together: what browsers and SDKs wait at most.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The label `upstream` of what goes to no upstream; no upstream can have this name.
const NO_UPSTREAM: &str = "(tunnel)";

/// The forward proxy as a listener sees it.
#[derive(Clone)]
pub(super) struct Forward(Arc<Inner>);

struct Inner {
    table: ArcSwap<Table>,
    shared: Arc<Shared>,
    tunnels: Arc<Tunnels>,
    connections: CallCounter,
    connects: ConnectCounters,
    /// Where this process listens: no tunnel leads there.
    own: Arc<ArcSwap<Vec<SocketAddr>>>,
}

/// Which host goes where. The narrowest comes first.
#[derive(Default)]
struct Table {
    intercept: Vec<Served>,
    tunnel: Vec<Target>,
    limits: TunnelLimits,
    mint: Option<Arc<Mint>>,
}

/// A host that is served here.
struct Served {
    target: Target,
    tls: InsideTls,
    upstream: String,
    proxy: Proxy,
}

/// A table that is about to be: all of it that can fail has been made.
struct PlannedTable {
    intercept: Vec<(Intercept, InsideTls)>,
    tunnel: Vec<Target>,
    limits: TunnelLimits,
    mint: Option<Arc<Mint>>,
}

/// A forward proxy, and where it listens.
pub(super) struct Forwarding {
    pub listener: Listener,
    pub forward: Forward,
}

/// Plans for all forward proxies that are served on; those that the settings do not have at their address
/// are left as they are.
pub(super) struct Plans(Vec<(Forward, PlannedTable, FreshTls)>);

/// Starts to listen wherever the settings have a forward proxy, and says where. `own` is where else this
/// process listens.
pub(super) async fn start(core: &Core, mut own: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, AppError> {
    let settings = core.settings.lock().clone();
    let known = Arc::new(ArcSwap::default());
    let mut addresses = Vec::new();
    own.extend(settings.forwards.iter().map(|forward| forward.config.address));
    known.store(Arc::new(own.clone()));
    for forward in &settings.forwards {
        let handler = Forward::new(&core.shared, &known);
        handler.install(handler.plan(forward, &settings)?, |name| core.sites.proxy(name));
        let listener = Listener::bind(forward.config.clone(), handler.clone(), &core.shared.registry).await?;
        addresses.push(listener.address());
        own.push(listener.address());
        known.store(Arc::new(own.clone()));
        core.forwards.lock().push(Forwarding { listener, forward: handler });
    }
    Ok(addresses)
}

/// What all of `running` do by new settings. Nothing is changed here. Blocks on files.
pub(super) fn plan_all(running: &[Forwarding], settings: &Settings) -> Result<Plans, AppError> {
    let mut taken = vec![false; settings.forwards.len()];
    let mut plans = Vec::new();
    for Forwarding { listener, forward } in running {
        let address = listener.config().address;
        // Those that take a free port are told apart by their order.
        let same = |index: &usize| !taken[*index] && settings.forwards[*index].config.address == address;
        let Some(index) = (0..taken.len()).find(same) else { continue };
        taken[index] = true;
        let planned = forward.plan(&settings.forwards[index], settings)?;
        plans.push((forward.clone(), planned, listener.read_tls()?));
    }
    Ok(Plans(plans))
}

impl Plans {
    /// Puts them into force. `proxy` knows all upstreams that the settings have.
    pub(super) fn install(self, proxy: impl Fn(&str) -> Option<Proxy>) {
        for (forward, planned, tls) in self.0 {
            forward.install(planned, &proxy);
            tls.install();
        }
    }
}

impl Forward {
    fn new(shared: &Arc<Shared>, own: &Arc<ArcSwap<Vec<SocketAddr>>>) -> Self {
        Self(Arc::new(Inner {
            table: ArcSwap::default(),
            tunnels: shared.tunnels.of(&shared.registry, NO_UPSTREAM),
            connections: CallCounter::new(&shared.registry, NO_UPSTREAM, "none", "tunnel"),
            connects: ConnectCounters::new(&shared.registry),
            shared: Arc::clone(shared),
            own: Arc::clone(own),
        }))
    }

    /// What the proxy does by `settings`, with the certificates that it has already. Blocks on files.
    fn plan(&self, forward: &ForwardSettings, settings: &Settings) -> Result<PlannedTable, AppError> {
        let before = self.0.table.load();
        plan(forward, settings, &settings.certs, before.mint.as_ref()).map_err(AppError::Server)
    }

    /// Puts a plan into force, for the connections to come and for the requests on those that are open.
    /// `proxy` knows all upstreams that the settings of the plan have.
    fn install(&self, planned: PlannedTable, proxy: impl Fn(&str) -> Option<Proxy>) {
        let PlannedTable { intercept, tunnel, limits, mint } = planned;
        let served = |(Intercept { target, upstream }, tls): (Intercept, InsideTls)| {
            let proxy = proxy(&upstream)?;
            Some(Served { target, tls, upstream, proxy })
        };
        let intercept = intercept.into_iter().filter_map(served).collect();
        self.0.table.store(Arc::new(Table { intercept, tunnel, limits, mint }));
    }

    /// Goes on without the upstreams that `stays` does not pick.
    pub(super) fn retain(&self, stays: impl Fn(&str) -> bool) {
        let table = self.0.table.load_full();
        if table.intercept.iter().all(|served| stays(&served.upstream)) {
            return;
        }
        let kept = table.intercept.iter().filter(|served| stays(&served.upstream));
        let intercept = kept.map(Served::again).collect();
        let (tunnel, mint) = (table.tunnel.clone(), table.mint.clone());
        self.0.table.store(Arc::new(Table { intercept, tunnel, limits: table.limits, mint }));
    }

    /// The file that clients must trust, if hosts are served here.
    pub(super) fn mint(&self) -> Option<Arc<Mint>> {
        self.0.table.load().mint.clone()
    }

    fn note(&self, request: &Request<Incoming>, peer: &Peer, outcome: ConnectOutcome) {
        self.0.connects.count(outcome);
        if self.0.shared.log_requests.load(Ordering::Relaxed) {
            // Of what is no CONNECT the host alone: a path may hold secrets.
            let host = request.uri().authority().map_or("", |authority| authority.host());
            tracing::info!(
                target: "forebay::request",
                client = %peer.address,
                outcome = outcome.as_str(),
                "{} {host}",
                request.method()
            );
        }
    }

    fn refuse(&self, request: &Request<Incoming>, peer: &Peer, failure: Failure) -> Response<Body> {
        self.note(
            request,
            peer,
            match failure {
                Failure::TooManyTunnels => ConnectOutcome::Limited,
                Failure::Unreachable | Failure::TimedOut => ConnectOutcome::Unreachable,
                _ => ConnectOutcome::Refused,
            },
        );
        proxy::not_connected(failure)
    }

    /// Connects to a host that is passed through.
    async fn dial(&self, host: &Authority) -> Result<tokio::net::TcpStream, Failure> {
        let (deadline, own) = (Instant::now() + CONNECT_WITHIN, self.0.own.load_full());
        match upstream::dial(&host.host.to_string(), host.port, deadline, &own).await {
            Ok(stream) => Ok(stream),
            Err(DialError::Excluded) => Err(Failure::NotForwarded(
                "forebay: that host is forebay itself, which a tunnel never leads to",
            )),
            Err(DialError::TimedOut) => Err(Failure::TimedOut),
            Err(DialError::Failed(error)) => {
                tracing::debug!(%host, %error, "cannot connect for a tunnel");
                Err(Failure::Unreachable)
            }
        }
    }

    async fn tunnel(
        &self,
        mut request: Request<Incoming>,
        peer: &Peer,
        host: Authority,
        limits: TunnelLimits,
    ) -> Response<Body> {
        let Some(place) = self.0.tunnels.enter(limits) else {
            return self.refuse(&request, peer, Failure::TooManyTunnels);
        };
        let upstream = match self.dial(&host).await {
            Ok(stream) => stream,
            Err(failure) => return self.refuse(&request, peer, failure),
        };
        // What small messages wait for otherwise is the acknowledgement of the ones before.
        let _only_slower = upstream.set_nodelay(true);
        self.0.connections.count_connection();
        self.note(&request, peer, ConnectOutcome::Tunnelled);
        let following = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            // It fails when the client has gone before the answer was written.
            let Ok(client) = following.await else { return };
            let ended = place.carry(TokioIo::new(client), upstream, limits.idle).await;
            tracing::debug!(%host, ?ended, "a tunnel ended");
        });
        proxy::connected()
    }

    fn intercept(
        &self,
        mut request: Request<Incoming>,
        peer: &Peer,
        host: Authority,
        tls: InsideTls,
    ) -> Response<Body> {
        let inside = request.extensions_mut().remove::<Inside>().expect("every CONNECT has it");
        self.note(&request, peer, ConnectOutcome::Intercepted);
        let following = hyper::upgrade::on(&mut request);
        let peer = peer.clone();
        let handler = ForHost { forward: self.clone(), host: Arc::new(host.clone()) };
        tokio::spawn(inside.serve(following, host.host, tls, peer, handler));
        proxy::connected()
    }
}

impl Handler for Forward {
    type Body = Body;

    async fn handle(&self, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Body> {
        let host = match proxy::connect_target(&request) {
            Ok(host) => host,
            Err(failure) => return self.refuse(&request, &peer, failure),
        };
        let table = self.0.table.load_full();
        if let Some(served) = table.served(&host) {
            return self.intercept(request, &peer, host, served.tls.clone());
        }
        if table.tunnel.iter().any(|target| target.means(&host)) {
            return self.tunnel(request, &peer, host, table.limits).await;
        }
        let why = "forebay: this host and port are neither intercepted nor tunnelled here";
        self.refuse(&request, &peer, Failure::NotForwarded(why))
    }

    fn refused(&self, refusal: Refusal, _: &Peer) -> Response<Body> {
        proxy::refused(refusal.status(), refusal.message())
    }
}

/// What a client sees that believes to speak with `host`.
#[derive(Clone)]
struct ForHost {
    forward: Forward,
    host: Arc<Authority>,
}

impl ForHost {
    /// What serves the host now; a reload may have given it to another upstream, or to none.
    fn proxy(&self) -> Option<Proxy> {
        self.forward.0.table.load().served(&self.host).map(|served| served.proxy.clone())
    }

    /// Whether a request is for what the connection leads to: this host, or another name of the same upstream.
    /// An API may send a client on to another of its names, and some keep the first in `Host`.
    fn is_meant(&self, request: &Request<Incoming>) -> bool {
        let Some(named) = proxy::inner_host(request.uri(), request.headers()) else { return false };
        if named == *self.host {
            return true;
        }
        let table = self.forward.0.table.load();
        let upstream = |host: &Authority| table.served(host).map(|served| served.upstream.as_str());
        upstream(&named).is_some_and(|other| Some(other) == upstream(&self.host))
    }
}

impl Handler for ForHost {
    type Body = Body;

    async fn handle(&self, mut request: Request<Incoming>, peer: Arc<Peer>) -> Response<Body> {
        let Some(proxy) = self.proxy() else { return proxy::not_connected(Failure::Misdirected) };
        if !self.is_meant(&request) {
            return proxy.misdirected();
        }
        // It was meant for the proxy, whatever the API would make of it.
        request.headers_mut().remove(header::PROXY_AUTHORIZATION);
        let via = Via { client: peer.address, local: peer.local, tls: peer.tls, front: &Front::Direct };
        proxy.handle(request, via).await
    }

    fn refused(&self, refusal: Refusal, _: &Peer) -> Response<Body> {
        let (status, message) = (refusal.status(), refusal.message());
        self.proxy().map_or_else(|| proxy::refused(status, message), |proxy| proxy.refused(status, message))
    }
}

impl Table {
    fn served(&self, host: &Authority) -> Option<&Served> {
        self.intercept.iter().find(|served| served.target.means(host))
    }
}

impl Served {
    fn again(&self) -> Self {
        let (target, tls, proxy) = (self.target.clone(), self.tls.clone(), self.proxy.clone());
        Self { target, tls, upstream: self.upstream.clone(), proxy }
    }
}

fn plan(
    forward: &ForwardSettings,
    settings: &Settings,
    certs: &Path,
    before: Option<&Arc<Mint>>,
) -> Result<PlannedTable, ServerError> {
    let (tunnel, limits) = (forward.tunnel.clone(), settings.tunnels);
    if forward.intercept.is_empty() {
        return Ok(PlannedTable { intercept: Vec::new(), tunnel, limits, mint: None });
    }
    let mint = Mint::load(certs, before)?;
    let intercept = forward.intercept.iter().map(|intercept| {
        // As an address of its own would have them for this upstream.
        let protocols = forward.protocols.unwrap_or_else(|| {
            let upstream = settings.upstream(&intercept.upstream);
            let http2 = upstream.is_some_and(|upstream| upstream.site.dialect.server_limits().http2);
            Protocols { http1: true, http2 }
        });
        let name = match &intercept.target.hosts {
            Hosts::One(host) => host.to_string(),
            Hosts::Below(domain) => format!("*.{domain}"),
            Hosts::AnyName => "*".to_owned(),
        };
        let config = minted_tls_config(mint.certificate(&name)?, protocols)?;
        Ok((intercept.clone(), InsideTls { config, protocols }))
    });
    let intercept = intercept.collect::<Result<_, ServerError>>()?;
    Ok(PlannedTable { intercept, tunnel, limits, mint: Some(mint) })
}
