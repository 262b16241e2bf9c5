//! What tasks do when they end, and what an interrupted one leaves behind.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::model::{Guest, Object, Power, Snapshot, Volume};
use super::state::{Cluster, Event};

/// What a task does at its end. It fails with a text when the state does not allow it any more.
#[derive(Debug)]
pub(super) enum Effect {
    /// Nothing that the simulation shows.
    Nothing,
    /// A guest starts, stops or pauses.
    Power { vmid: u32, to: Power },
    /// A guest stops and starts again, taking up pending changes.
    Restart { vmid: u32 },
    /// A guest that was being made is done.
    Created { vmid: u32, start: bool },
    /// A guest is gone with its volumes.
    Destroyed { vmid: u32 },
    /// A guest is on another node.
    Migrated { vmid: u32, to: usize },
    /// A snapshot exists.
    Snapshot { vmid: u32, name: String, description: String },
    /// A snapshot is gone.
    SnapshotDeleted { vmid: u32, name: String },
    /// A guest is as it was.
    RolledBack { vmid: u32, name: String },
    /// Configuration changes; null deletes a key.
    Configured { vmid: u32, changes: Object },
    /// A disk is as large as this.
    Resized { vmid: u32, disk: String, size: u64 },
    /// A disk is on another storage.
    DiskMoved { vmid: u32, disk: String, storage: String },
    /// Guests are backed up.
    BackedUp { vmids: Vec<u32>, storage: String },
    /// A volume exists.
    VolumeAdded { node: usize, storage: String, volume: Volume },
    /// A volume is gone.
    VolumeRemoved { node: usize, storage: String, id: String },
    /// The high-availability manager was asked for something and does it in its next round.
    HaRequest { vmid: u32, kind: &'static str, then: Box<Effect> },
    /// Several at once, for bulk actions.
    All(Vec<Effect>),
}

impl Effect {
    /// The guests whose lock the task holds.
    fn locks(&self) -> Vec<u32> {
        match self {
            Self::Created { vmid, .. }
            | Self::Destroyed { vmid }
            | Self::Migrated { vmid, .. }
            | Self::Snapshot { vmid, .. }
            | Self::SnapshotDeleted { vmid, .. }
            | Self::RolledBack { vmid, .. }
            | Self::DiskMoved { vmid, .. } => vec![*vmid],
            Self::BackedUp { vmids, .. } => vmids.clone(),
            _ => Vec::new(),
        }
    }
}

impl Cluster {
    /// Does what a task was for.
    pub(super) fn apply(&mut self, effect: Effect, at: Instant) -> Result<(), String> {
        let wall = self.wall(at);
        for vmid in effect.locks() {
            self.edit_guest(vmid, at, |guest| guest.lock = None);
        }
        match effect {
            Effect::Nothing => Ok(()),
            Effect::Power { vmid, to } => self.change(vmid, at, |guest| guest.set_power(to, wall))?,
            Effect::Restart { vmid } => self.change(vmid, at, |guest| {
                guest.set_power(Power::Stopped, wall)?;
                guest.set_power(Power::Running, wall)
            })?,
            Effect::Created { vmid, start } => {
                self.change(
                    vmid,
                    at,
                    |guest| {
                        if start { guest.set_power(Power::Running, wall) } else { Ok(()) }
                    },
                )?
            }
            Effect::Destroyed { vmid } => self.destroy(vmid),
            Effect::Migrated { vmid, to } => self.migrated(vmid, to, at),
            Effect::Snapshot { vmid, name, description } => self.change(vmid, at, |guest| {
                let config = guest.config.clone();
                guest.parent = Some(name.clone());
                guest.snapshots.push(Snapshot { name, description, time: wall, config });
                Ok(())
            })?,
            Effect::SnapshotDeleted { vmid, name } => self.change(vmid, at, |guest| {
                guest.snapshots.retain(|snapshot| snapshot.name != name);
                guest.parent = guest.snapshots.last().map(|snapshot| snapshot.name.clone());
                Ok(())
            })?,
            Effect::RolledBack { vmid, name } => self.change(vmid, at, |guest| {
                let snapshot = guest.snapshots.iter().find(|snapshot| snapshot.name == name);
                guest.config =
                    snapshot.ok_or_else(|| format!("snapshot '{name}' does not exist"))?.config.clone();
                guest.parent = Some(name);
                guest.power = Power::Stopped;
                guest.started = None;
                Ok(())
            })?,
            Effect::Configured { vmid, changes } => self.change(vmid, at, |guest| {
                guest.configure(changes);
                Ok(())
            })?,
            Effect::Resized { vmid, disk, size } => self.resize_disk(vmid, &disk, size, at),
            Effect::DiskMoved { vmid, disk, storage } => self.move_disk(vmid, &disk, &storage, at),
            Effect::BackedUp { vmids, storage } => self.back_up(&vmids, &storage, wall),
            Effect::VolumeAdded { node, storage, volume } => {
                let place = self.volume_place(&storage, node);
                self.volumes.entry(place).or_default().insert(volume.id.clone(), volume);
                Ok(())
            }
            Effect::VolumeRemoved { node, storage, id } => {
                let place = self.volume_place(&storage, node);
                let removed = self.volumes.get_mut(&place).and_then(|volumes| volumes.remove(&id));
                removed.map(drop).ok_or_else(|| format!("no such volume '{id}'"))
            }
            Effect::HaRequest { vmid, kind, then } => {
                if let Some(node) = self.guests.get(&vmid).map(|guest| guest.node) {
                    self.schedule(at + self.ha_round, Event::Spawn { node, kind, vmid, effect: *then });
                }
                Ok(())
            }
            Effect::All(effects) => effects.into_iter().try_for_each(|effect| self.apply(effect, at)),
        }
    }

    /// Releases what an interrupted task held; a guest that was only being made is removed.
    pub(super) fn abandon(&mut self, effect: Effect, at: Instant) {
        for vmid in effect.locks() {
            self.edit_guest(vmid, at, |guest| guest.lock = None);
        }
        if let Effect::Created { vmid, .. } = effect {
            // There is nothing to fail: a guest that is gone already stays gone.
            let _ = self.destroy(vmid);
        }
    }

    /// Changes a guest from a task; the inner result is the task's.
    fn change(
        &mut self,
        vmid: u32,
        at: Instant,
        change: impl FnOnce(&mut Guest) -> Result<(), String>,
    ) -> Result<Result<(), String>, String> {
        let gone = || format!("Configuration file for guest {vmid} does not exist");
        self.edit_guest(vmid, at, change).ok_or_else(gone)
    }

    /// A guest is on another node, with its volumes that only its old one has.
    fn migrated(&mut self, vmid: u32, to: usize, at: Instant) -> Result<(), String> {
        let from = self.guests.get(&vmid).map(|guest| guest.node);
        self.change(vmid, at, |guest| {
            guest.node = to;
            Ok(())
        })??;
        let own = |volume: &Volume| volume.vmid == Some(vmid) && volume.content != "backup";
        let places: Vec<_> = self.volumes.keys().filter(|(_, node)| *node == from).cloned().collect();
        for (storage, node) in places {
            let Some(volumes) = self.volumes.get_mut(&(storage.clone(), node)) else { continue };
            let (moved, stay) = std::mem::take(volumes).into_iter().partition(|(_, volume)| own(volume));
            *volumes = stay;
            let moved: BTreeMap<_, _> = moved;
            self.volumes.entry((storage, Some(to))).or_default().extend(moved);
        }
        Ok(())
    }

    fn destroy(&mut self, vmid: u32) -> Result<(), String> {
        let guest = self.guests.remove(&vmid).ok_or_else(|| format!("guest {vmid} does not exist"))?;
        self.ha.remove(&guest.sid());
        for volumes in self.volumes.values_mut() {
            volumes.retain(|_, volume| volume.vmid != Some(vmid) || volume.content == "backup");
        }
        Ok(())
    }

    fn back_up(&mut self, vmids: &[u32], storage: &str, wall: u64) -> Result<(), String> {
        for vmid in vmids {
            let Some(guest) = self.guests.get(vmid) else { continue };
            let (kind, node, notes, size) = (guest.kind, guest.node, guest.name(), guest.disk() / 5);
            let suffix = if kind == super::model::Kind::Qemu { "vma.zst" } else { "tar.zst" };
            let id = format!("{storage}:backup/vzdump-{}-{vmid}-{wall}.{suffix}", kind.name());
            let volume = Volume {
                id: id.clone(),
                content: "backup".to_owned(),
                format: suffix.to_owned(),
                size,
                vmid: Some(*vmid),
                time: Some(wall),
                notes: Some(notes),
            };
            let place = self.volume_place(storage, node);
            self.volumes.entry(place).or_default().insert(id, volume);
        }
        Ok(())
    }
}

impl Guest {
    /// Starts, stops or pauses; a stop takes up what was pending.
    fn set_power(&mut self, to: Power, wall: u64) -> Result<(), String> {
        let title = self.kind.title();
        match (self.power, to) {
            (Power::Running, Power::Running) => return Err(format!("{title} {} already running", self.vmid)),
            (Power::Stopped, Power::Paused) => return Err(format!("{title} {} not running", self.vmid)),
            (Power::Stopped, Power::Running) => {
                let pending = std::mem::take(&mut self.pending);
                merge(&mut self.config, pending);
                self.started = Some(wall);
            }
            (_, Power::Stopped) => {
                let pending = std::mem::take(&mut self.pending);
                merge(&mut self.config, pending);
                self.started = None;
            }
            _ => {}
        }
        self.power = to;
        Ok(())
    }

    /// Takes up configuration changes: at once, or as pending where a running guest needs a restart.
    pub(super) fn configure(&mut self, changes: Object) {
        const NEEDS_RESTART: [&str; 9] =
            ["cores", "sockets", "memory", "cpu", "machine", "bios", "scsihw", "ostype", "numa"];
        let waits = self.kind == super::model::Kind::Qemu && self.power != Power::Stopped;
        for (key, value) in changes {
            if waits && NEEDS_RESTART.contains(&key.as_str()) {
                if self.config.get(&key) == Some(&value) {
                    self.pending.remove(&key);
                } else {
                    self.pending.insert(key, value);
                }
            } else {
                merge(&mut self.config, Object::from_iter([(key, value)]));
            }
        }
    }
}

/// Puts `changes` into `config`; null deletes.
pub(super) fn merge(config: &mut Object, changes: Object) {
    for (key, value) in changes {
        if value == Value::Null {
            config.remove(&key);
        } else {
            config.insert(key, value);
        }
    }
}

/// Time that requests to the high-availability manager take: they only set a wanted state.
pub(super) const HA_REQUEST_TIME: Duration = Duration::from_millis(100);
