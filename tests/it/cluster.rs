//! The built-in rules in front of the simulated cluster: whatever is written through forebay, the next
//! reads show what the cluster itself would say.
//!
//! Forebay's clock stands still, so nothing that is stored ever expires: only invalidation can keep
//! the reads true.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use forebay::sim::proxmox::{ADMIN_TOKEN, ADMIN_TOKEN_SECRET, Sim, SimConfig};
use serde_json::Value;

use crate::support::{Ask, Got, Options, Rig};

const WATCHER: &str = "watcher@pve!reads";
const SECRET: &str = "a9a9a9a9-0000-4000-8000-000000000009";

/// What moves by itself, or is drawn anew for every answer. The simulated digest counts the changes of
/// every file of a guest, the real one those of its configuration alone.
const MOVING: &[&str] = &[
    "digest",
    "uptime",
    "cpu",
    "mem",
    "memory",
    "maxcpu",
    "netin",
    "netout",
    "diskread",
    "diskwrite",
    "disk",
    "time",
    "localtime",
    "wait",
    "loadavg",
    "balloon",
    "pid",
    "freemem",
    "pressurecpusome",
    "swap",
    "rootfs",
    "memhost",
    "blockstat",
    "timestamp",
    "ksm",
    "idle",
];

/// The reads that are compared, with `{node}` and `{guest}` for each of them.
const READS: &[&str] = &[
    "/nodes",
    "/pools",
    "/storage",
    "/access/users",
    "/access/acl",
    "/access/groups",
    "/access/permissions",
    "/access/users/new@pve",
    "/access/users/new@pve/token",
    "/access/users/new@pve/token/a",
    "/pools/dev",
    "/pools/prod",
    "/pools/fresh",
    "/storage/local",
    "/storage/extra",
    "/cluster/resources",
    "/cluster/resources?type=vm",
    "/cluster/resources?type=storage",
    "/cluster/tasks",
    "/cluster/status",
    "/cluster/options",
    "/cluster/ha/resources",
    "/cluster/ha/resources/vm:103",
    "/cluster/ha/status/current",
    "/cluster/firewall/options",
    "/cluster/backup-info/not-backed-up",
    "/nodes/{node}/status",
    "/nodes/{node}/qemu",
    "/nodes/{node}/lxc",
    "/nodes/{node}/storage",
    "/nodes/{node}/storage/local/status",
    "/nodes/{node}/storage/local/content",
    "/nodes/{node}/storage/nfs-iso/content",
    "/nodes/{node}/storage/local-lvm/content",
    "/nodes/{node}/tasks",
    "/nodes/{node}/dns",
    "{guest}",
    "{guest}/status/current",
    "{guest}/config",
    "{guest}/pending",
    "{guest}/snapshot",
    "{guest}/snapshot/before",
    "{guest}/snapshot/before/config",
    "{guest}/firewall/options",
    "{guest}/firewall/rules",
    "{guest}/firewall/rules/0",
];

const GUESTS: &[&str] = &[
    "/nodes/pve1/qemu/100",
    "/nodes/pve1/qemu/103",
    "/nodes/pve2/qemu/103",
    "/nodes/pve1/qemu/150",
    "/nodes/pve3/qemu/151",
    "/nodes/pve1/lxc/200",
];

/// What is written, in this order: method, path, fields.
const WRITES: &[(&str, &str, &str)] = &[
    ("PUT", "/nodes/pve1/qemu/100/config", "name=renamed&description=x"),
    ("PUT", "/nodes/pve1/qemu/100/config", "memory=4096"),
    ("POST", "/nodes/pve1/qemu/100/config", "cores=2"),
    ("PUT", "/nodes/pve1/qemu/100/config", "tags=a%3Bb"),
    ("PUT", "/nodes/pve1/qemu/100/config", "nonsense=1"),
    ("POST", "/nodes/pve1/qemu/100/snapshot", "snapname=before"),
    ("PUT", "/nodes/pve1/qemu/100/snapshot/before/config", "description=changed"),
    ("POST", "/nodes/pve1/qemu/100/snapshot/before/rollback", ""),
    ("DELETE", "/nodes/pve1/qemu/100/snapshot/before", ""),
    ("POST", "/nodes/pve1/qemu/100/status/start", ""),
    ("PUT", "/nodes/pve1/qemu/100/resize", "disk=scsi0&size=%2B1G"),
    ("POST", "/nodes/pve1/qemu/100/status/suspend", ""),
    ("POST", "/nodes/pve1/qemu/100/status/resume", ""),
    ("POST", "/nodes/pve1/qemu/100/status/stop", ""),
    ("POST", "/nodes/pve1/qemu/103/status/start", ""),
    ("POST", "/nodes/pve1/qemu/103/status/reboot", ""),
    ("POST", "/nodes/pve1/qemu/103/status/shutdown", ""),
    ("POST", "/nodes/pve1/qemu/103/migrate", "target=pve2"),
    ("POST", "/nodes/pve2/qemu/103/migrate", "target=pve1"),
    ("POST", "/nodes/pve1/qemu/9000/clone", "newid=150&name=cloned&full=1&pool=dev"),
    ("POST", "/nodes/pve1/qemu/9000/clone", "newid=151&name=far&full=1&target=pve3&storage=nfs-iso"),
    ("POST", "/nodes/pve1/qemu/150/template", ""),
    ("DELETE", "/nodes/pve1/qemu/150", ""),
    ("POST", "/nodes/pve1/qemu", "vmid=150&name=made&memory=512&scsi0=local-lvm:1"),
    ("POST", "/nodes/pve1/qemu/150/status/start", ""),
    ("POST", "/nodes/pve1/qemu/150/status/stop", ""),
    ("POST", "/nodes/pve1/lxc/200/status/stop", ""),
    ("PUT", "/nodes/pve1/lxc/200/config", "hostname=other"),
    ("POST", "/nodes/pve1/lxc/200/snapshot", "snapname=before"),
    ("POST", "/nodes/pve1/vzdump", "vmid=100&storage=nfs-iso"),
    ("PUT", "/nodes/pve1/qemu/100/firewall/options", "enable=1"),
    ("POST", "/nodes/pve1/qemu/100/firewall/rules", "action=ACCEPT&type=in"),
    ("DELETE", "/nodes/pve1/qemu/100/firewall/rules/0", ""),
    ("PUT", "/cluster/firewall/options", "enable=1"),
    ("PUT", "/cluster/options", "keyboard=de"),
    ("POST", "/cluster/ha/resources", "sid=vm:103&state=stopped"),
    ("PUT", "/cluster/ha/resources/vm:103", "state=ignored"),
    ("DELETE", "/cluster/ha/resources/vm:103", ""),
    ("POST", "/pools", "poolid=fresh&comment=x"),
    ("PUT", "/pools/fresh", "vms=100&allow-move=1"),
    ("PUT", "/pools/fresh", "vms=100&delete=1"),
    ("DELETE", "/pools/fresh", ""),
    ("POST", "/storage", "storage=extra&type=dir&path=%2Fmnt"),
    ("PUT", "/storage/extra", "content=iso"),
    ("DELETE", "/storage/extra", ""),
    ("POST", "/access/users", "userid=new@pve&password=longenough"),
    ("POST", "/access/users/new@pve/token/a", "comment=x"),
    ("PUT", "/access/acl", "path=%2Fvms%2F100&users=new@pve&roles=PVEAuditor"),
    ("PUT", "/nodes/pve1/dns", "search=other.example"),
    ("DELETE", "/access/users/new@pve", ""),
];

pub fn credential(ask: Ask, name: &str, secret: &str) -> Ask {
    ask.anonymous().field("Authorization", &format!("PVEAPIToken={name}={secret}"))
}

pub fn reads() -> Vec<String> {
    let mut reads = Vec::new();
    for path in READS {
        if path.contains("{node}") {
            reads.extend(["pve1", "pve3"].iter().map(|node| path.replace("{node}", node)));
        } else if path.contains("{guest}") {
            reads.extend(GUESTS.iter().map(|guest| path.replace("{guest}", guest)));
        } else {
            reads.push(path.to_string());
        }
    }
    reads
}

/// Without what moves by itself, and in one order.
pub fn still(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(name, _)| !MOVING.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name, still(value))).collect())
        }
        Value::Array(list) => {
            let kept = |item: &Value| item.get("key").is_none_or(|key| key != "digest");
            let mut list: Vec<_> = list.into_iter().filter(kept).map(still).collect();
            list.sort_by_key(Value::to_string);
            Value::Array(list)
        }
        other => other,
    }
}

struct Lab {
    rig: Rig,
    sim: Sim,
}

impl Lab {
    async fn start() -> Self {
        Self::with("proxmox").await
    }

    async fn with(rules: &str) -> Self {
        let hour = Duration::from_secs(3600);
        let config = SimConfig {
            vms: 9,
            task_time: hour,
            ha_round: hour,
            resources_lag: Duration::ZERO,
            penalty_401: Duration::ZERO,
            dead_agent_delay: Duration::ZERO,
            ..SimConfig::default()
        };
        let sim = Sim::start(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a free port");
        sim.add_token(WATCHER, SECRET);
        sim.change_behind(
            "root@pam",
            "PUT",
            "/access/acl",
            &[("path", "/"), ("users", "watcher@pve"), ("roles", "Administrator")],
        )
        .expect("the superuser may");
        let apis = vec![format!("http://{}", sim.address())];
        let rig = Rig::with(Options { rules: rules.into(), apis, ..Options::default() }).await;
        Self { rig, sim }
    }

    async fn read(&self, path: &str) -> Got {
        self.read_as(WATCHER, path).await
    }

    async fn read_as(&self, who: &str, path: &str) -> Got {
        credential(self.rig.get(&format!("/api2/json{path}")), who, SECRET).send().await
    }

    /// What forebay says that differs from what the cluster says.
    async fn lies(&self, after: &str, reads: &[String]) -> Vec<String> {
        self.lies_to(WATCHER, after, reads).await
    }

    async fn lies_to(&self, who: &str, after: &str, reads: &[String]) -> Vec<String> {
        let mut lies = Vec::new();
        for path in reads {
            let got = self.read_as(who, path).await;
            let (plain, query) = path.split_once('?').unwrap_or((path, ""));
            let fields: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
            let truth = self.sim.change_behind(who, "GET", plain, &fields);
            let told = match got.status {
                200 => Ok(still(serde_json::from_slice::<Value>(&got.body).expect("JSON")["data"].clone())),
                status => Err(status),
            };
            let truth = truth.map(still).map_err(|(status, _)| status);
            if told != truth {
                let show = |what: &Result<Value, u16>| match what {
                    Ok(value) => value.to_string(),
                    Err(status) => status.to_string(),
                };
                let (told, truth, cache) = (show(&told), show(&truth), got.cache());
                lies.push(format!("after {after}: {path} ({cache})\n  told  {told}\n  truth {truth}"));
            }
        }
        lies
    }
}

#[tokio::test]
async fn after_every_write_the_reads_are_what_the_cluster_says() {
    let lab = Lab::start().await;
    let reads = reads();
    let mut lies = lab.lies("the start", &reads).await;
    let mut done = 0;
    for &(method, path, fields) in WRITES {
        let write = format!("{method} {path} {fields}");
        let ask = lab.rig.ask(method, &format!("/api2/json{path}"));
        let ask = credential(ask, ADMIN_TOKEN, ADMIN_TOKEN_SECRET);
        let form = "application/x-www-form-urlencoded";
        let got = match method {
            // Which may have no content.
            "DELETE" => ask.send().await,
            _ => ask.field("Content-Type", form).body(fields).send().await,
        };
        done += usize::from(got.status == 200);
        if got.status != 200 {
            println!("{write}: {} {}", got.status, got.reason);
        }
        lies.extend(lab.lies(&write, &reads).await);
        let data = serde_json::from_slice::<Value>(&got.body).unwrap_or_default()["data"].clone();
        if let Some(upid) = data.as_str().filter(|text| text.starts_with("UPID:")) {
            let node = upid.split(':').nth(1).expect("a node");
            let status = format!("/nodes/{node}/tasks/{upid}/status");
            // A few tasks are over before their call is answered.
            if lab.read(&status).await.text().contains("running") {
                lab.sim.settle();
            }
            let ended = lab.read(&status).await;
            assert!(ended.text().contains("stopped"), "{write}: {}", ended.text());
            lies.extend(lab.lies(&format!("the end of {write}"), &reads).await);
        }
    }
    assert!(lies.is_empty(), "{} lies\n{}", lies.len(), lies.join("\n"));
    assert!(done > 40, "only {done} writes did anything");
    let hits = lab.rig.counter("forebay_requests_total") - lab.rig.counter("forebay_upstream_requests_total");
    assert!(hits > 3_000, "only {hits} answers came from the store");
    let sim = lab.sim;
    lab.rig.finish_with(|| sim.calls()).await;
    sim.stop().await;
}

#[tokio::test]
async fn who_sees_other_guests_never_sees_what_others_see() {
    let builtin = forebay::rules::builtin("proxmox").expect("it is built in");
    for rules in ["proxmox".to_owned(), crate::truth::by_rights(builtin)] {
        let lab = Lab::with(&rules).await;
        // The first and the third may do the same, the second sees other guests and no storage.
        let may: [(&str, &[&str]); 3] = [
            ("one@pve", &["/vms/100", "/vms/103", "/storage/local", "/pool/prod"]),
            ("two@pve", &["/vms/101", "/vms/200", "/pool/dev"]),
            ("three@pve", &["/vms/100", "/vms/103", "/storage/local", "/pool/prod"]),
        ];
        for (user, paths) in may {
            lab.sim.add_token(&format!("{user}!t"), SECRET);
            for path in paths {
                let fields = [("path", *path), ("users", user), ("roles", "PVEAuditor")];
                lab.sim.change_behind("root@pam", "PUT", "/access/acl", &fields).expect("the superuser may");
            }
        }
        let mut lies = Vec::new();
        let lists: Vec<String> = reads().into_iter().filter(|path| !path.contains("/qemu/")).collect();
        // Accepted by the first, asked about beside the second, shared with from the third on.
        for round in 0..3 {
            for who in ["one@pve!t", "two@pve!t", "three@pve!t"] {
                lies.extend(lab.lies_to(who, &format!("round {round} of {who}"), &lists).await);
            }
            if round == 0 {
                // The first list of tasks told of old ones, and what they may have changed has to settle.
                lab.rig.seconds(61).await;
            }
        }
        assert!(lies.is_empty(), "{} lies\n{}", lies.len(), lies.join("\n"));
        let mut seen = Vec::new();
        for who in ["one@pve!t", "two@pve!t", "three@pve!t"] {
            seen.push(lab.read_as(who, "/cluster/resources?type=vm").await);
        }
        assert!(seen.iter().all(Got::is_hit));
        assert_ne!(seen[0].body, seen[1].body);
        let sim = lab.sim;
        lab.rig.finish_with(|| sim.calls()).await;
        sim.stop().await;
    }
}
