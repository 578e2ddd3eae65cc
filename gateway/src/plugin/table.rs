//! Every plugin that runs. One line here and one file in [`crate::plugins`] make a plugin; what is known by its schema
//! alone is accepted and does not run.

use std::sync::Arc;

use super::call::{Call, Ended};
use super::exit::Exit;
use super::instance::Instance;
use super::{Flow, Plugin, Refusal, Setup};
use crate::node::Node;
use crate::plan::plugin::PluginPlan;
use crate::plugins;
use crate::proxy::context::Exchange;
use crate::value::{Object, Value};

/// A type in `crate::plugins::FILE`, and the plugin's name.
macro_rules! plugins {
    ($($plugin:ident in $file:ident is $name:literal,)*) => {
        /// A compiled instance.
        #[derive(Debug)]
        pub enum Compiled {
            $($plugin(plugins::$file::$plugin),)*
            /// Known by its schema, without code: nothing happens.
            Absent,
            /// It guards something and cannot run: what it guards is refused.
            Refused,
        }

        /// What an instance keeps for one request.
        #[derive(Debug)]
        pub enum State {
            $($plugin(<plugins::$file::$plugin as Plugin>::State),)*
            Nothing,
        }

        /// What the instances of each plugin share.
        #[derive(Debug, Default)]
        pub struct Shared {
            $($file: Arc<<plugins::$file::$plugin as Plugin>::Shared>,)*
        }

        impl Shared {
            $(pub fn $file(&self) -> &Arc<<plugins::$file::$plugin as Plugin>::Shared> {
                &self.$file
            })*
        }

        /// The names of the plugins that run.
        pub const RUNNING: &[&str] = &[$($name),*];

        /// The members of a plugin's configuration that it does not read ([`Plugin::UNREAD`]).
        pub fn unread(name: &str) -> &'static [&'static str] {
            match name {
                $($name => <plugins::$file::$plugin as Plugin>::UNREAD,)*
                _ => &[],
            }
        }

        impl Compiled {
            /// Compiles an instance. A plugin without code is [`Compiled::Absent`].
            pub fn new(plan: &PluginPlan, node: &Arc<Node>) -> Result<Self, Refusal> {
                match plan.name {
                    $($name => {
                        let setup = Setup {
                            shared: &node.shared.$file,
                            id: &plan.id,
                            scope: &plan.scope,
                            node,
                        };
                        let config = read::<plugins::$file::$plugin>(&plan.config)?;
                        Plugin::new(config, &setup).map(Self::$plugin)
                    })*
                    _ => Ok(Self::Absent),
                }
            }

            /// A fresh state for one request.
            pub fn state(&self) -> State {
                match self {
                    $(Self::$plugin(_) => State::$plugin(Default::default()),)*
                    Self::Absent | Self::Refused => State::Nothing,
                }
            }

            pub const fn rewrites(&self) -> bool {
                match self {
                    $(Self::$plugin(_) => <plugins::$file::$plugin as Plugin>::REWRITES,)*
                    Self::Absent | Self::Refused => false,
                }
            }

            pub const fn serializes(&self) -> bool {
                match self {
                    $(Self::$plugin(_) => <plugins::$file::$plugin as Plugin>::SERIALIZES,)*
                    Self::Absent | Self::Refused => false,
                }
            }

            pub fn rewrite(&self, exchange: &mut Exchange, instance: &Instance, state: &mut State) -> Flow {
                match (self, state) {
                    $((Self::$plugin(plugin), State::$plugin(state)) => {
                        plugin.rewrite(&mut Call::new(exchange, instance, state))
                    })*
                    (Self::Refused, _) => Err(Exit::refused()),
                    _ => Ok(()),
                }
            }

            pub async fn access(&self, exchange: &mut Exchange, instance: &Instance, state: &mut State) -> Flow {
                match (self, state) {
                    $((Self::$plugin(plugin), State::$plugin(state)) => {
                        plugin.access(&mut Call::new(exchange, instance, state)).await
                    })*
                    (Self::Refused, _) => {
                        instance.say_refused();
                        Err(Exit::refused())
                    }
                    _ => Ok(()),
                }
            }

            pub fn header_filter(&self, exchange: &mut Exchange, instance: &Instance, state: &mut State) {
                match (self, state) {
                    $((Self::$plugin(plugin), State::$plugin(state)) => {
                        plugin.header_filter(&mut Call::new(exchange, instance, state));
                    })*
                    _ => {}
                }
            }

            pub fn log(&self, exchange: &Exchange, instance: &Instance, state: &State) {
                match (self, state) {
                    $((Self::$plugin(plugin), State::$plugin(state)) => {
                        plugin.log(&Ended::new(exchange, instance, state));
                    })*
                    _ => {}
                }
            }
        }
    };
}

plugins! {
    Acl in acl is "acl",
    BasicAuth in basic_auth is "basic-auth",
    CorrelationId in correlation_id is "correlation-id",
    Cors in cors is "cors",
    IpRestriction in ip_restriction is "ip-restriction",
    Jwt in jwt is "jwt",
    KeyAuth in key_auth is "key-auth",
    FileLog in file_log is "file-log",
    HttpLog in http_log is "http-log",
    Prometheus in prometheus is "prometheus",
    RateLimiting in rate_limiting is "rate-limiting",
    RequestSizeLimiting in request_size_limiting is "request-size-limiting",
    RequestTermination in request_termination is "request-termination",
    RequestTransformer in request_transformer is "request-transformer",
    ResponseTransformer in response_transformer is "response-transformer",
}

/// Whether a plugin has code here.
pub fn runs(name: &str) -> bool {
    RUNNING.contains(&name)
}

/// Reads a configuration into a plugin's own type.
fn read<P: Plugin>(config: &Object) -> Result<P::Config, Refusal> {
    let text = Value::from(config.clone()).to_json();
    let mut json = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        Refusal::new(field, error.into_inner())
    })
}
