//! Clients that change things: an operator like kubemox, which compares what it wanted with what is.
//!
//! How staleness is checked: once forebay has told the operator that a write is done (its answer, or the
//! end of its task), the operator and a second client with another credential read through forebay what
//! the write changed, and the same is read from inside the simulator, before and after. The reads must
//! show what the simulator shows; they are left out when the simulator changed in between.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::client::{Answer, CallError, Client};
use super::lab::{Guest, truth};
use super::tally::{Tally, Verdict};
use crate::sim::proxmox::Sim;

/// How often one guest is reconciled.
const RECONCILE_EVERY: Duration = Duration::from_secs(1);
/// How often a task is asked whether it has ended.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// The pause between two changes of one guest.
const CHANGE_EVERY: Duration = Duration::from_secs(6);

/// Reconciles every guest in turn and changes nothing.
pub(super) async fn reconciler(mut client: Client, guests: Vec<Guest>) {
    let mut rounds = interval(RECONCILE_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for guest in guests.iter().cycle() {
        rounds.tick().await;
        // What fails has been counted; the guest's turn comes again.
        drop(reconcile(&mut client, guest).await);
    }
}

/// What an operator reads of a guest before it decides, its repetitions included. The answer is that of
/// `status/current`.
async fn reconcile(client: &mut Client, guest: &Guest) -> Result<Answer, CallError> {
    client.get(&format!("/nodes/{}/status", guest.node)).await?;
    client.get("/cluster/resources?type=vm").await?;
    let status = client.get(&format!("{}/status/current", guest.path())).await?;
    client.get(&format!("{}/config", guest.path())).await?;
    client.get(&format!("{}/config", guest.path())).await?;
    Ok(status)
}

/// An operator that changes one guest, which nobody else changes.
pub(super) struct Operator {
    pub client: Client,
    /// A client with another credential.
    pub second: Client,
    pub guest: Guest,
    pub sim: Arc<Sim>,
    pub tally: Arc<Tally>,
}

/// One kind of change.
#[derive(Clone, Copy)]
enum Change {
    /// A description with a counter: a write that is done when it is answered.
    Description,
    /// Start or stop, whichever is due: a write that starts a task.
    Power,
    /// Another number of cores, in a task.
    Cores,
}

impl Operator {
    /// Changes the guest again and again.
    pub(super) async fn run(mut self) {
        let changes = [Change::Description, Change::Power, Change::Description, Change::Cores];
        for (count, change) in changes.iter().cycle().enumerate() {
            // What fails has been counted; the next change is due in any case.
            drop(self.change(count, *change).await);
            sleep(CHANGE_EVERY).await;
        }
    }

    async fn change(&mut self, count: usize, change: Change) -> Result<(), CallError> {
        let status = reconcile(&mut self.client, &self.guest).await?;
        let (path, node) = (self.guest.path(), format!("/nodes/{}/qemu", self.guest.node));
        let (config, current) = (format!("{path}/config"), format!("{path}/status/current"));
        match change {
            Change::Description => {
                self.client.call(Method::PUT, &config, &format!("description=change+{count}")).await?;
                self.tally.written();
                self.check(&config, &["description", "digest"]).await
            }
            Change::Cores => {
                let cores = 1 + count / 4 % 8;
                let started = self.client.call(Method::POST, &config, &format!("cores={cores}")).await?;
                self.wait(&started).await?;
                self.check(&config, &["cores", "digest"]).await
            }
            Change::Power => {
                let verb = if status.data["status"] == "running" { "stop" } else { "start" };
                let started = self.client.call(Method::POST, &format!("{path}/status/{verb}"), "").await?;
                self.wait(&started).await?;
                self.check(&current, &["status", "qmpstatus"]).await?;
                self.check(&node, &["status"]).await
            }
        }
    }

    /// Waits until forebay tells that the task named in an answer has ended.
    async fn wait(&mut self, started: &Answer) -> Result<(), CallError> {
        let upid = started.data.as_str().unwrap_or_default();
        let path = format!("/nodes/{}/tasks/{upid}/status", self.guest.node);
        while self.client.get(&path).await?.data["status"] != "stopped" {
            sleep(POLL_EVERY).await;
        }
        self.tally.written();
        Ok(())
    }

    /// Reads through forebay with both credentials and compares with the truth.
    async fn check(&mut self, path: &str, fields: &[&str]) -> Result<(), CallError> {
        for (reader, client) in [("the writer", &mut self.client), ("a second client", &mut self.second)] {
            let before = truth(&self.sim, path).map(|data| picked(&data, self.guest.vmid, fields));
            let answer = client.get(path).await?;
            let after = truth(&self.sim, path).map(|data| picked(&data, self.guest.vmid, fields));
            let shown = picked(&answer.data, self.guest.vmid, fields);
            if before.is_none() || before != after {
                continue;
            }
            let verdict = match before {
                Some(truth) if truth != shown => Verdict::Stale(format!(
                    "{path} read by {reader}: {shown:?} instead of {truth:?} ({})",
                    answer.cache_status
                )),
                _ => Verdict::True,
            };
            self.tally.checked(verdict);
        }
        Ok(())
    }
}

/// The fields of an object, or of the guest's item where `data` is a list.
fn picked(data: &Value, vmid: u64, fields: &[&str]) -> Vec<Value> {
    let item = match data {
        Value::Array(items) => items.iter().find(|item| item["vmid"] == vmid).unwrap_or(&Value::Null),
        object => object,
    };
    fields.iter().map(|field| item[*field].clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_write_changed_is_compared() {
        let list = json!([{"vmid": 1, "status": "running"}, {"vmid": 2, "status": "stopped", "cpu": 0.1}]);
        assert_eq!(picked(&list, 2, &["status"]), [json!("stopped")]);
        assert_eq!(picked(&list, 3, &["status"]), [Value::Null]);
        let object = json!({"status": "running", "uptime": 5});
        assert_eq!(picked(&object, 2, &["status", "qmpstatus"]), [json!("running"), Value::Null]);
    }
}
