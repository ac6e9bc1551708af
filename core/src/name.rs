//! The names of things: one type each, so that a revision is never taken for an instance.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

name!(
    /// What users reach, by its stable name: `oinker`, or `shop/cart` inside a Marathon group.
    ServiceName
);
name!(
    /// An immutable "what to run" as its orchestrator knows it: for Marathon an app id such as `/oinker-4f2a91c`.
    RevisionId
);
name!(
    /// One incarnation of one running copy. A restart gives another id: evidence never carries over.
    InstanceId
);
name!(
    /// One run of teal, unique over time: `oinker-20261122-235238-7f3a`.
    DeploymentId
);
name!(
    /// A pool of a balancer: the service's name, with `:INDEX` for port indices above 0.
    PoolId
);
name!(
    /// Where an instance is reached: `host:port`.
    Address
);

/// Where an instance is reached, by port index. A port that cannot be reached from outside has its place and no address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Addresses(Vec<Option<Address>>);

impl Addresses {
    /// Returns the address of a port.
    #[must_use]
    pub fn at(&self, port_index: usize) -> Option<&Address> {
        self.0.get(port_index)?.as_ref()
    }

    /// Returns every port's, in the order of the ports.
    pub fn iter(&self) -> impl Iterator<Item = Option<&Address>> {
        self.0.iter().map(Option::as_ref)
    }
}

impl FromIterator<Option<Address>> for Addresses {
    fn from_iter<T: IntoIterator<Item = Option<Address>>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}

impl FromIterator<Address> for Addresses {
    fn from_iter<T: IntoIterator<Item = Address>>(all: T) -> Self {
        all.into_iter().map(Some).collect()
    }
}

impl<const PORTS: usize> From<[Address; PORTS]> for Addresses {
    fn from(all: [Address; PORTS]) -> Self {
        all.into_iter().collect()
    }
}

/// The part a revision plays in one deployment. Never stored on anything: the next deployment gives the parts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The revision that serves when the deployment begins.
    Blue,
    /// The revision that is coming.
    Green,
}

impl Role {
    /// Returns the other role.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blue => "BLUE",
            Self::Green => "GREEN",
        })
    }
}
