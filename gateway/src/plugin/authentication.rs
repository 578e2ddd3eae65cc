//! Several plugins that find out who the client is, on one route: without `anonymous` each of them must succeed, with it
//! one is enough, and where none does the client is the anonymous consumer.

use http::StatusCode;

use super::call::Call;
use super::{Flow, Plugin};

/// A plugin that finds out who the client is.
pub trait Authentication: Plugin {
    /// The consumer, by id or username, that clients are taken for who do not say who they are.
    fn anonymous(&self) -> Option<&str>;

    /// Finds out who the client is. An [`super::Exit`] with 401 says that it is nobody known.
    fn identify(&self, call: &mut Call<'_, Self::State>) -> impl Future<Output = Flow>;

    /// The access phase of such a plugin.
    fn authenticate(&self, call: &mut Call<'_, Self::State>) -> impl Future<Output = Flow> {
        async {
            let Some(anonymous) = self.anonymous() else {
                return self.identify(call).await;
            };
            if call.client().credential().is_some() {
                return Ok(());
            }
            match self.identify(call).await {
                Err(exit) if exit.status() == StatusCode::UNAUTHORIZED => {
                    call.authenticate_anonymous(anonymous).await
                }
                other => other,
            }
        }
    }
}
