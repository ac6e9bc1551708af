//! The balancer of the world in memory.

use super::World;
use super::orchestrator::not_yet;
use super::state::{Endpoint, Pool, State};
use crate::{Balancer, Capabilities, DriverError};
use async_trait::async_trait;
use teal_core::action::{Action, Member, PoolAction};
use teal_core::name::{InstanceId, PoolId};
use teal_core::observation::{EndpointState, PoolSighting, System};

#[async_trait]
impl Balancer for World {
    fn capabilities(&self) -> Capabilities {
        self.state().capabilities
    }

    async fn observe(&self, pools: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError> {
        let mut state = self.state();
        state.answer(System::Balancer)?;
        Ok(pools.iter().filter_map(|id| state.sight_pool(id)).collect())
    }

    async fn act(&self, action: &PoolAction) -> Result<(), DriverError> {
        self.change(|state| {
            state.answer(System::Balancer)?;
            state.act_on_pool(action)?;
            state.actions.push(Action::Pool(action.clone()));
            Ok(())
        })
    }
}

impl State {
    fn act_on_pool(&mut self, action: &PoolAction) -> Result<(), DriverError> {
        match action {
            PoolAction::Open { pool } => {
                let listen = pool.listen.clone();
                let made = Pool {
                    listen,
                    ..Pool::empty()
                };
                self.pools.entry(pool.id.clone()).or_insert(made);
                Ok(())
            }
            PoolAction::Change {
                pool,
                admit,
                withdraw,
                forget,
            } => {
                let Some(pool) = self.pools.get_mut(pool) else {
                    return Err(DriverError::NotFound {
                        what: format!("pool {pool}"),
                    });
                };
                withdraw.iter().for_each(|instance| pool.withdraw(instance));
                forget.iter().for_each(|instance| pool.forget(instance));
                admit.iter().for_each(|member| pool.admit(member));
                Ok(())
            }
            PoolAction::Close { pool } => self.close(pool),
        }
    }

    fn close(&mut self, id: &PoolId) -> Result<(), DriverError> {
        let count = self.pools.get(id).map_or(0, |pool| pool.endpoints.len());
        if count > 0 {
            let message = format!("it still has {count} endpoints");
            return Err(not_yet(&format!("closing pool {id}"), &message));
        }
        self.pools.remove(id);
        Ok(())
    }
}

impl Pool {
    fn admit(&mut self, member: &Member) {
        match self
            .endpoints
            .iter_mut()
            .find(|e| e.seen.instance == member.instance)
        {
            Some(endpoint) => {
                endpoint.seen.state = EndpointState::Serving;
                endpoint.seen.address = member.address.clone();
                endpoint.forgotten = false;
            }
            None => self
                .endpoints
                .push(Endpoint::serving(&member.instance, &member.address)),
        }
    }

    fn withdraw(&mut self, instance: &InstanceId) {
        for endpoint in self
            .endpoints
            .iter_mut()
            .filter(|e| e.seen.instance == *instance)
        {
            endpoint.seen.state = EndpointState::Draining;
        }
    }

    fn forget(&mut self, instance: &InstanceId) {
        self.withdraw(instance);
        for endpoint in self
            .endpoints
            .iter_mut()
            .filter(|e| e.seen.instance == *instance)
        {
            endpoint.forgotten = true;
        }
    }
}
