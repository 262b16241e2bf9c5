//! From method and path to a handler, and which paths pveproxy hands to the privileged daemon.

use super::answer::{Failure, Outcome};
use super::call::{Call, Method};
use super::state::Cluster;
use super::{access, cluster, node, pools, storage};

/// Carries out one call.
pub(super) fn dispatch(cluster: &mut Cluster, call: &Call) -> Outcome {
    match call.parts().as_slice() {
        [] if call.method == Method::Get => {
            Ok(cluster::index(&["version", "cluster", "nodes", "storage", "access", "pools"]))
        }
        ["version"] if call.method == Method::Get => Ok(node::version(true)),
        ["access", rest @ ..] => access::route(cluster, call, rest),
        ["cluster", rest @ ..] => cluster::route(cluster, call, rest),
        ["nodes", rest @ ..] => node::route(cluster, call, rest),
        ["pools", rest @ ..] => pools::route(cluster, call, rest),
        ["storage", rest @ ..] => storage::route(cluster, call, rest),
        _ => Err(Failure::not_implemented(call.method.name(), &call.path)),
    }
}

/// Whether a call runs in the privileged daemon: it then takes one of its few workers, and its answer is
/// relayed with a stray `Connection: close`.
pub(super) fn protected(method: Method, parts: &[&str]) -> bool {
    if method != Method::Get {
        return !parts.is_empty();
    }
    match parts {
        ["access", "users" | "tfa"] => true,
        ["cluster", "status"] | ["cluster", "backup-info", _] | ["cluster", "config", "qdevice"] => true,
        ["nodes", _, "qemu" | "lxc", _, rest @ ..] => guest_path_protected(rest),
        ["nodes", _, rest @ ..] => matches!(
            rest,
            ["qemu"
                | "lxc"
                | "storage"
                | "services"
                | "replication"
                | "rrddata"
                | "hosts"
                | "journal"
                | "syslog"]
                | ["disks", "list" | "smart"]
                | ["apt", "update"]
                | ["services", _, "state"]
                | ["replication", _, "status" | "log"]
                | ["storage", _, "status" | "content" | "rrddata" | "prunebackups", ..]
                | ["tasks", _, "status" | "log"]
        ),
        _ => false,
    }
}

fn guest_path_protected(rest: &[&str]) -> bool {
    matches!(
        rest,
        ["status", "current"]
            | ["snapshot" | "rrddata" | "feature" | "migrate" | "interfaces"]
            | ["agent", ..]
            | ["firewall", "log"]
    )
}

/// The node in the path, when the call is carried out there whichever node received it.
pub(super) fn proxied_to<'a>(method: Method, parts: &[&'a str]) -> Option<&'a str> {
    match parts {
        // Consoles and uploads happen on the node that was contacted.
        ["nodes", _, .., "vncproxy" | "termproxy" | "spiceproxy" | "vncshell" | "vncwebsocket"] => None,
        ["nodes", _, "storage", _, "upload"] if method == Method::Post => None,
        ["nodes", name, _, ..] => Some(name),
        _ => None,
    }
}
