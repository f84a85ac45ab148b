//! Bodies that are watched, or cut off, on their way through the edge.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

/// A body that tells the code of its call exactly once: at its end, or CANCELLED when it is dropped before.
pub(super) fn observed<F>(inner: Body, known: Option<Code>, tell: F) -> Body
where
    F: FnOnce(Code) + Send + Unpin + 'static,
{
    if inner.is_end_stream() {
        tell(known.unwrap_or(Code::Unknown));
        return inner;
    }
    Body::new(Observed { inner, known, tell: Some(tell) })
}

struct Observed<F: FnOnce(Code)> {
    inner: Body,
    known: Option<Code>,
    tell: Option<F>,
}

impl<F: FnOnce(Code)> Observed<F> {
    fn tell(&mut self, code: Code) {
        if let Some(tell) = self.tell.take() {
            tell(code);
        }
    }
}

impl<F: FnOnce(Code) + Unpin> HttpBody for Observed<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let code =
                        Status::from_header_map(trailers).map_or(Code::Unknown, |status| status.code());
                    self.tell(code);
                }
            }
            Some(Err(status)) => {
                let code = status.code();
                self.tell(code);
            }
            None => {
                let code = self.known.unwrap_or(Code::Unknown);
                self.tell(code);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<F: FnOnce(Code)> Drop for Observed<F> {
    fn drop(&mut self) {
        // Said to be at its end, a body need not be polled again; dropped before that, its caller went away.
        let code =
            if self.inner.is_end_stream() { self.known.unwrap_or(Code::Unknown) } else { Code::Cancelled };
        self.tell(code);
    }
}

/// A body that ends with `status` as soon as `until` comes about.
pub(super) fn cut_off<U>(inner: Body, until: U, status: Status) -> Body
where
    U: Future<Output = ()> + Send + 'static,
{
    Body::new(CutOff { inner: Some(inner), until: Box::pin(until), status })
}

struct CutOff {
    /// None once the end was told.
    inner: Option<Body>,
    until: Pin<Box<dyn Future<Output = ()> + Send>>,
    status: Status,
}

impl HttpBody for CutOff {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(None) };
        if this.until.as_mut().poll(context).is_ready() {
            this.inner = None;
            let mut trailers = HeaderMap::new();
            return Poll::Ready(Some(
                this.status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)),
            ));
        }
        Pin::new(inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt as _, Full, StreamBody};
    use tokio::sync::oneshot;

    use super::*;

    type Told = Arc<Mutex<Vec<Code>>>;

    fn listener() -> (Told, impl FnOnce(Code) + Send + Unpin + 'static) {
        let told = Told::default();
        let into = told.clone();
        (told, move |code| into.lock().unwrap().push(code))
    }

    /// One frame of data, then these trailers.
    fn with_trailers(code: Code) -> Body {
        let mut trailers = HeaderMap::new();
        Status::new(code, "").add_header(&mut trailers).unwrap();
        let frames = [Ok::<_, Status>(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(trailers))];
        Body::new(StreamBody::new(tokio_stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_body_tells_its_code_once_and_at_its_end() {
        let (told, tell) = listener();
        let mut body = observed(with_trailers(Code::Aborted), None, tell);
        body.frame().await.unwrap().unwrap();
        assert!(told.lock().unwrap().is_empty());
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(*told.lock().unwrap(), [Code::Aborted]);
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_was_cancelled() {
        let (told, tell) = listener();
        let mut body = observed(with_trailers(Code::Ok), None, tell);
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(*told.lock().unwrap(), [Code::Cancelled]);
    }

    #[tokio::test]
    async fn an_empty_body_has_its_code_in_the_headers() {
        let (told, tell) = listener();
        drop(observed(Body::empty(), Some(Code::NotFound), tell));
        assert_eq!(*told.lock().unwrap(), [Code::NotFound]);
        let (told, tell) = listener();
        let body = observed(Body::new(Full::new(Bytes::from_static(b"x"))), Some(Code::Ok), tell);
        body.collect().await.unwrap();
        assert_eq!(*told.lock().unwrap(), [Code::Ok]);
    }

    #[tokio::test]
    async fn a_body_is_cut_off_with_a_status() {
        let (cut, until) = oneshot::channel::<()>();
        let endless = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Status>>());
        let until = async {
            until.await.ok();
        };
        let mut body = cut_off(Body::new(endless), until, Status::unavailable("moved"));
        cut.send(()).unwrap();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Unavailable);
        assert!(body.frame().await.is_none());
    }
}
