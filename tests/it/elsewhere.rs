//! Tasks that somebody else started: an answer that tells of one overtakes what it changes, before it is
//! handed over.
//!
//! In front of the simulated cluster. Forebay's clock stands still, so nothing that is stored expires.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use forebay::sim::proxmox::{ADMIN_TOKEN, ADMIN_TOKEN_SECRET, Sim, SimConfig};

use crate::support::{Got, Options, Rig};

const GUEST: &str = "/nodes/pve1/qemu/100/status/current";
const OTHER: &str = "/nodes/pve1/qemu/103/status/current";

struct Lab {
    rig: Rig,
    sim: Sim,
}

impl Lab {
    async fn start() -> Self {
        let hour = Duration::from_secs(3600);
        let config = SimConfig {
            vms: 9,
            task_time: hour,
            ha_round: hour,
            resources_lag: Duration::ZERO,
            dead_agent_delay: Duration::ZERO,
            ..SimConfig::default()
        };
        let sim = Sim::start(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a free port");
        let apis = vec![format!("http://{}", sim.address())];
        let rig = Rig::with(Options { rules: "proxmox".into(), apis, ..Options::default() }).await;
        Self { rig, sim }
    }

    async fn read(&self, path: &str) -> Got {
        let token = format!("PVEAPIToken={ADMIN_TOKEN}={ADMIN_TOKEN_SECRET}");
        let got = self.rig.get(&format!("/api2/json{path}")).anonymous().field("Authorization", &token);
        let got = got.send().await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        got
    }

    /// Reads until the answer is kept.
    async fn warm(&self, paths: &[&str]) {
        for path in paths {
            self.read(path).await;
            assert!(self.read(path).await.is_hit(), "{path} is not kept");
        }
    }

    /// Somebody else writes, at the cluster itself; the task that it starts.
    fn behind(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.sim.change_behind("root@pam", method, path, fields).expect("the superuser may");
        answer.as_str().expect("a task").to_owned()
    }

    fn stop_guest(&self) -> String {
        self.behind("POST", "/nodes/pve1/qemu/100/status/stop", &[])
    }

    async fn finish(self) {
        let sim = self.sim;
        self.rig.finish_with(|| sim.calls()).await;
        sim.stop().await;
    }
}

/// The settle time of everything that the cluster did before the test has passed.
async fn settled(lab: &Lab) {
    lab.read("/cluster/tasks").await;
    lab.rig.seconds(120).await;
}

#[tokio::test]
async fn whatever_shows_the_end_of_a_task_overtakes_what_it_changed() {
    let channels = [
        |_: &str| "/cluster/tasks".to_owned(),
        |_: &str| "/nodes/pve1/tasks".to_owned(),
        |_: &str| "/cluster/log".to_owned(),
        |upid: &str| format!("/nodes/pve1/tasks/{upid}/status"),
        |upid: &str| format!("/nodes/pve1/tasks/{upid}/log"),
        |upid: &str| format!("/nodes/pve1/tasks/{}/status", upid.replace(':', "%3A")),
    ];
    for channel in channels {
        let lab = Lab::start().await;
        settled(&lab).await;
        lab.warm(&[GUEST, OTHER]).await;
        assert!(lab.read(GUEST).await.text().contains(r#""status":"running""#));
        let upid = lab.stop_guest();
        lab.sim.settle();
        let channel = channel(&upid);
        assert!(lab.read(GUEST).await.is_hit(), "nobody has told yet");
        lab.read(&channel).await;
        let now = lab.read(GUEST).await;
        assert!(now.text().contains(r#""status":"stopped""#), "{channel}: {}", now.cache());
        assert!(lab.read(OTHER).await.is_hit(), "{channel}: nothing happened to the other guest");
        lab.finish().await;
    }
}

#[tokio::test]
async fn what_a_task_of_others_changes_is_unsettled_while_it_runs() {
    let lab = Lab::start().await;
    settled(&lab).await;
    lab.warm(&[GUEST, OTHER]).await;
    let upid = lab.stop_guest();
    lab.read("/cluster/tasks").await;
    assert_eq!(lab.rig.app.shared().operations.len(), 1);
    for _ in 0..3 {
        assert_eq!(lab.read(GUEST).await.cache(), "fwd=bypass; stored; detail=unsettled");
        assert!(lab.read(GUEST).await.is_hit());
        lab.rig.seconds(1).await;
    }
    lab.read(OTHER).await;
    lab.warm(&[GUEST]).await;
    lab.sim.settle();
    // The same news in another form is no news.
    lab.read(&format!("/nodes/pve1/tasks/{upid}/status")).await;
    assert!(lab.rig.app.shared().operations.is_empty());
    lab.read(GUEST).await;
    assert!(lab.read(GUEST).await.is_hit(), "kept for a second");
    lab.read("/cluster/tasks").await;
    assert!(lab.read(GUEST).await.is_hit());
    lab.finish().await;
}

#[tokio::test]
async fn a_task_without_an_end_holds_until_the_cap() {
    let lab = Lab::start().await;
    settled(&lab).await;
    lab.stop_guest();
    lab.read("/cluster/tasks").await;
    lab.rig.seconds(30 * 60).await;
    lab.rig.app.shared().operations.sweep();
    lab.rig.seconds(15).await;
    lab.warm(&[GUEST]).await;
    // It is still listed as running, which holds nothing any more.
    lab.rig.seconds(1).await;
    lab.read("/cluster/tasks").await;
    lab.warm(&[GUEST]).await;
    lab.finish().await;
}

#[tokio::test]
async fn a_console_of_somebody_else_holds_nothing() {
    let lab = Lab::start().await;
    settled(&lab).await;
    lab.warm(&[GUEST]).await;
    let opened = lab.sim.change_behind("root@pam", "POST", "/nodes/pve1/qemu/100/vncproxy", &[]);
    assert!(opened.expect("the superuser may")["upid"].is_string());
    lab.read("/cluster/tasks").await;
    assert!(lab.read(GUEST).await.is_hit());
    lab.rig.seconds(1).await;
    lab.warm(&["/cluster/tasks"]).await;
    lab.finish().await;
}

#[tokio::test]
async fn a_clone_of_somebody_else_reaches_the_guest_that_its_name_does_not_tell() {
    let lab = Lab::start().await;
    settled(&lab).await;
    let clone = [("newid", "150"), ("name", "cloned"), ("full", "1")];
    lab.behind("POST", "/nodes/pve1/qemu/9000/clone", &clone);
    lab.read("/cluster/tasks").await;
    let path = "/nodes/pve1/qemu/150/config";
    lab.rig.get(&format!("/api2/json{path}")).send().await;
    lab.sim.settle();
    lab.read("/cluster/tasks").await;
    assert!(lab.read(path).await.text().contains("cloned"));
    assert!(!lab.read(path).await.text().contains("lock"));
    lab.finish().await;
}

#[tokio::test]
async fn the_first_list_tells_of_old_tasks_once() {
    let lab = Lab::start().await;
    let upid = lab.stop_guest();
    lab.sim.settle();
    lab.read("/cluster/tasks").await;
    let told = || lab.rig.counter("forebay_invalidations_total");
    let before = told();
    assert!(before > 0);
    lab.rig.seconds(2).await;
    for path in ["/cluster/tasks", "/nodes/pve1/tasks", &format!("/nodes/pve1/tasks/{upid}/status")] {
        lab.read(path).await;
    }
    assert_eq!(told(), before, "old news");
    lab.finish().await;
}

#[tokio::test]
async fn what_a_manager_does_later_counts_when_it_does_it() {
    let lab = Lab::start().await;
    settled(&lab).await;
    let guest = "/nodes/pve3/qemu/102/status/current";
    lab.warm(&[guest]).await;
    let token = format!("PVEAPIToken={ADMIN_TOKEN}={ADMIN_TOKEN_SECRET}");
    let stop = lab.rig.ask("POST", "/api2/json/nodes/pve3/qemu/102/status/stop");
    let wish = stop.anonymous().field("Authorization", &token).send().await;
    assert!(wish.text().contains(":hastop:102:"), "{}", wish.text());
    // The wish is set; what it wished for comes with the manager's next round, in the name of root.
    lab.sim.settle();
    let list = lab.read("/cluster/tasks").await;
    assert!(list.text().contains(":qmshutdown:102:root@pam:"), "{}", list.text());
    assert!(lab.read(guest).await.text().contains(r#""status":"stopped""#));
    // Nothing is kept over a second for as long as the managers may need.
    lab.rig.seconds(57).await;
    lab.warm(&[guest]).await;
    lab.rig.seconds(1).await;
    assert!(!lab.read(guest).await.is_hit());
    lab.finish().await;
}
