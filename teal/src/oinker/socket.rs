//! The WebSocket: it echoes every text with the revision in front, until the client closes.

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::reply::{Body, Refusal, TEXT, whole};

const MESSAGE_SIZE_MAX: usize = 64 * 1024;

/// `GET /socket`: the handshake of RFC 6455, section 4.2.
pub(super) fn upgrade(
    revision: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let asks = request.method() == Method::GET && header_says(&request, &UPGRADE, "websocket");
    if !asks {
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket",
        ));
    }
    if !header_says(&request, &SEC_WEBSOCKET_VERSION, "13") {
        return Err(Refusal::bad_request(
            "only version 13 of WebSocket is understood",
        ));
    }
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return Err(Refusal::bad_request("Sec-WebSocket-Key is missing"));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Refusal::bad_request(error.to_string()))?;
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(echo(upgraded, revision.to_owned()));

    let mut response = whole(StatusCode::SWITCHING_PROTOCOLS, TEXT, "");
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn header_says(request: &Request<Incoming>, name: &HeaderName, word: &str) -> bool {
    let value = request
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.eq_ignore_ascii_case(word))
}

async fn echo(upgraded: OnUpgrade, revision: String) {
    let Ok(upgraded) = upgraded.await else { return };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_SIZE_MAX))
        .max_frame_size(Some(MESSAGE_SIZE_MAX));
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    // Pings and the closing handshake are answered by the library while we read.
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        if socket
            .send(Message::text(format!("{revision}: {text}")))
            .await
            .is_err()
        {
            return;
        }
    }
}
