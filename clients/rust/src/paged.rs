//! Lists that come in pages.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};

use crate::error::Error;

/// All of a list: a stream that asks for the next page when it needs it. It ends after an error.
pub struct Paged<T>(BoxStream<'static, Result<T, Error>>);

impl<T> Paged<T> {
    /// The next one; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        self.0.next().await
    }
}

impl<T> Stream for Paged<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

/// Where a walk through a list is: what is at hand, and the page after that.
struct Walk<T, F> {
    fetch: F,
    at_hand: VecDeque<T>,
    next_page: Option<String>,
}

impl<T: Send + 'static> Paged<T> {
    /// `fetch` asks for the page of a token, and answers it and the next one's token; empty: there is none.
    pub(crate) fn new<F, Page>(fetch: F) -> Self
    where
        F: Fn(String) -> Page + Send + 'static,
        Page: Future<Output = Result<(Vec<T>, String), Error>> + Send,
    {
        let walk = Walk { fetch, at_hand: VecDeque::new(), next_page: Some(String::new()) };
        Self(
            stream::try_unfold(walk, async |mut walk| {
                loop {
                    if let Some(next) = walk.at_hand.pop_front() {
                        return Ok(Some((next, walk)));
                    }
                    let Some(page_token) = walk.next_page.take() else { return Ok(None) };
                    let (page, next_page) = (walk.fetch)(page_token).await?;
                    walk.next_page = Some(next_page).filter(|token| !token.is_empty());
                    walk.at_hand = page.into();
                }
            })
            .boxed(),
        )
    }
}
