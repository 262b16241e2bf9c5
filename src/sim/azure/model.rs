//! What the simulated subscription is made of: resources, and the operations that change them.

use serde_json::Value;

/// Whether a virtual machine runs, and what it is on its way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    Running,
    Stopped,
    Deallocated,
    Starting,
    Stopping,
    Deallocating,
}

impl Power {
    /// The words of an instance view: code and display text.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Running => ("PowerState/running", "VM running"),
            Self::Stopped => ("PowerState/stopped", "VM stopped"),
            Self::Deallocated => ("PowerState/deallocated", "VM deallocated"),
            Self::Starting => ("PowerState/starting", "VM starting"),
            Self::Stopping => ("PowerState/stopping", "VM stopping"),
            Self::Deallocating => ("PowerState/deallocating", "VM deallocating"),
        }
    }

    /// Whether the machine has hardware, and with it dynamic addresses and attached disks.
    pub(super) fn allocated(self) -> bool {
        self != Self::Deallocated
    }
}

/// A resource or a resource group.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// The id as its provider writes it.
    pub(super) id: String,
    /// The type as its provider writes it.
    pub(super) kind: String,
    /// The name as it was first written.
    pub(super) name: String,
    /// Everything else of the body: location, tags, sku, properties.
    pub(super) body: Value,
    /// Counts changes; the etag is made from it.
    pub(super) revision: u64,
    /// A virtual machine's power.
    pub(super) power: Option<Power>,
    /// Not shown anywhere yet: its creation is under way and the provider answers 404 until it ends.
    pub(super) hidden: bool,
    /// What a dynamic public address is while it has one.
    pub(super) address: Option<String>,
}

impl Resource {
    pub(super) fn state(&self) -> &str {
        self.body["properties"]["provisioningState"].as_str().unwrap_or("Succeeded")
    }

    pub(super) fn set_state(&mut self, state: &str) {
        if self.body["properties"].is_object() {
            self.body["properties"]["provisioningState"] = Value::from(state);
        }
    }

    /// Whether an operation on it is under way.
    pub(super) fn in_flux(&self) -> bool {
        !matches!(self.state(), "Succeeded" | "Failed" | "Canceled")
    }

    pub(super) fn location(&self) -> &str {
        self.body["location"].as_str().unwrap_or("eastus")
    }

    /// The subscription in the id.
    pub(super) fn subscription(&self) -> &str {
        self.id.split('/').nth(2).unwrap_or_default()
    }

    /// The group in the id.
    pub(super) fn group(&self) -> &str {
        self.id.split('/').nth(4).unwrap_or_default()
    }

    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }
}

/// What an operation does when it ends well.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// A machine reaches this power; before that it was in the one named second.
    Power { key: String, to: Power, from: Power },
    /// A resource that was shown from the start becomes `Succeeded`.
    Finish(String),
    /// A resource that was hidden until now appears.
    Appear(String),
    /// Resources vanish.
    Delete(Vec<String>),
    /// A group vanishes with all in it.
    DeleteGroup(String),
    /// A deployment ends and what it deploys is there.
    Deploy { key: String, resources: Vec<(String, Value)> },
    /// Resources move to another group.
    Move { keys: Vec<String>, group: String },
    /// Nothing that a read could show.
    Nothing,
}

/// How an operation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Succeeded,
    /// With this error code and message.
    Failed(String, String),
    /// By being canceled.
    Canceled,
}

impl Ending {
    /// The word in `status` and `provisioningState`.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Failed(..) => "Failed",
            Self::Canceled => "Canceled",
        }
    }
}

/// Where and how an operation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Compute,
    Disk,
    Network,
    Storage,
    Group,
    Deployment,
}

impl Family {
    /// The word that an operation in progress has for its status.
    pub(super) fn pending(self) -> &'static str {
        match self {
            Self::Deployment => "Running",
            _ => "InProgress",
        }
    }
}

/// A long-running operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// The last segment of its addresses.
    pub(super) name: String,
    pub(super) family: Family,
    pub(super) started: String,
    /// When it ended, and how.
    pub(super) ended: Option<(String, Ending)>,
    /// How it is going to end.
    pub(super) ending: Ending,
    pub(super) effect: Effect,
    /// The resource whose body is the final answer at `Location`.
    pub(super) shows: Option<String>,
    /// The final answer at `Location` where it is not a resource.
    pub(super) output: Option<Value>,
    /// The signature that its addresses carry.
    pub(super) signature: String,
    /// Who may ask.
    pub(super) object: String,
}
