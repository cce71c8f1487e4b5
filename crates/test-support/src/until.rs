use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);
/// Between a question and the next, so that whoever is waited for gets the processor.
const PAUSE: Duration = Duration::from_millis(2);

/// What this gives as soon as it gives something, for states of which nobody tells: it is asked again
/// and again, for three minutes at most.
pub async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            sleep(PAUSE).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap()
}
