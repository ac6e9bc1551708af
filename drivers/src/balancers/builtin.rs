//! The balancer that comes with teal, over its admin API.
//!
//! | call | answer |
//! |---|---|
//! | `GET /v1/pools/{name}` | the pool; 404 |
//! | `PUT /v1/pools/{name}` `{"listen","protocol"}` | 200, 201 the pool; 409 port in use; 422 |
//! | `POST /v1/pools/{name}/change` `{"admit","withdraw","forget"}` | 200 the pool after the change, which is one step |
//! | `DELETE /v1/pools/{name}` | 200, 204; 404 |

use crate::address::resolve;
use crate::http::{Client, Method, segment};
use crate::{Balancer, Capabilities, DriverError};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use teal_core::action::{Member, PoolAction};
use teal_core::name::{Address, InstanceId, PoolId};
use teal_core::observation::{EndpointSighting, EndpointState, PoolSighting};
use teal_core::plan::{PoolPlan, Protocol};

/// A proxy of ours.
#[derive(Debug)]
pub struct Builtin {
    client: Client,
}

#[derive(Deserialize)]
struct Pool {
    listen: Option<String>,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    instance: String,
    address: String,
    state: State,
    in_flight: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Serving,
    Draining,
}

impl Builtin {
    /// Returns a driver for the proxy whose admin API is at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when this is no such address.
    pub fn connect(url: &str) -> Result<Self, DriverError> {
        Ok(Self {
            client: Client::new(url)?,
        })
    }

    /// Returns the client, for what is asked of the proxy by hand.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    async fn pool(&self, id: &PoolId) -> Result<Option<PoolSighting>, DriverError> {
        let answer = self.client.call(Method::GET, &path(id), None).await?;
        if answer.is_missing() {
            return Ok(None);
        }
        let pool: Pool = answer.read()?;
        let endpoints = pool.endpoints.into_iter().map(Endpoint::sighting).collect();
        Ok(Some(PoolSighting {
            id: id.clone(),
            listen: pool.listen,
            endpoints,
            vacancies: None,
        }))
    }

    async fn open(&self, pool: &PoolPlan) -> Result<(), DriverError> {
        if self.pool(&pool.id).await?.is_some() {
            return Ok(());
        }
        let listen = match &pool.listen {
            Some(listen) => Value::from(resolve(listen).await?.to_string()),
            None => Value::Null,
        };
        let protocol = match pool.protocol {
            Protocol::Http => "http",
            Protocol::Tcp => "tcp",
        };
        let body = json!({ "listen": listen, "protocol": protocol });
        self.client
            .call(Method::PUT, &path(&pool.id), Some(&body))
            .await?
            .check()
    }

    async fn change(
        &self,
        pool: &PoolId,
        admit: &[Member],
        withdraw: &[InstanceId],
        forget: &[InstanceId],
    ) -> Result<(), DriverError> {
        let admit = try_join_all(admit.iter().map(|member| async move {
            let address = resolve(member.address.as_str()).await?.to_string();
            Ok::<_, DriverError>(json!({ "instance": member.instance, "address": address }))
        }));
        let body = json!({ "admit": admit.await?, "withdraw": withdraw, "forget": forget });
        let path = format!("{}/change", path(pool));
        self.client
            .call(Method::POST, &path, Some(&body))
            .await?
            .check()
    }

    async fn close(&self, id: &PoolId) -> Result<(), DriverError> {
        let Some(pool) = self.pool(id).await? else {
            return Ok(());
        };
        if !pool.endpoints.is_empty() {
            // What was forgotten leaves once nothing is in flight: the caller has to look again.
            return Err(DriverError::Busy {
                url: self.client.url(),
                message: format!("pool {id} still has {} endpoints", pool.endpoints.len()),
            });
        }
        let answer = self.client.call(Method::DELETE, &path(id), None).await?;
        if answer.is_missing() {
            Ok(())
        } else {
            answer.check()
        }
    }
}

#[async_trait]
impl Balancer for Builtin {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn observe(&self, pools: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError> {
        let seen = try_join_all(pools.iter().map(|pool| self.pool(pool))).await?;
        Ok(seen.into_iter().flatten().collect())
    }

    async fn act(&self, action: &PoolAction) -> Result<(), DriverError> {
        match action {
            PoolAction::Open { pool } => self.open(pool).await,
            PoolAction::Change {
                pool,
                admit,
                withdraw,
                forget,
            } => self.change(pool, admit, withdraw, forget).await,
            PoolAction::Close { pool } => self.close(pool).await,
        }
    }
}

impl Endpoint {
    fn sighting(self) -> EndpointSighting {
        EndpointSighting {
            instance: InstanceId(self.instance),
            address: Address(self.address),
            state: match self.state {
                State::Serving => EndpointState::Serving,
                State::Draining => EndpointState::Draining,
            },
            in_flight: Some(self.in_flight),
        }
    }
}

fn path(pool: &PoolId) -> String {
    format!("/v1/pools/{}", segment(pool.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_of_any_name_is_one_segment_of_the_path() {
        assert_eq!(
            path(&PoolId::from("shop/cart:1")),
            "/v1/pools/shop%2Fcart%3A1"
        );
    }
}
