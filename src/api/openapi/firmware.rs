//! The paths of the firmware. Called by `openapi.rs`.

use serde_json::{Value, json};

use super::{Schemas, answers, reads};
use crate::api::Rebooting;
use crate::system::{Installed, SystemView};

/// What shows and changes the firmware.
pub(super) fn paths(schemas: &mut Schemas) -> Vec<(&'static str, Value)> {
    let (system, installed) = (schemas.reference::<SystemView>(), schemas.reference::<Installed>());
    let rebooting = schemas.reference::<Rebooting>();
    let force = json!({"name": "force", "in": "query", "schema": {"type": "boolean", "default": false},
        "description": "Take the update though it brings an older version than runs."});
    let file = json!({"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}});
    vec![
        reads(
            "/v1/system",
            (
                "system",
                "Which version of the firmware runs, from where, whether it is good, and what became of the last update.",
            ),
            &[],
            answers("The firmware of this moment.", &system),
        ),
        (
            "/v1/system/update",
            json!({
                "post": {"operationId": "update",
                         "summary": "Takes an update of the firmware, which starts with the machine's next start.",
                         "description": "The file is signed and goes to the slot that does not run, as it comes: it may be as \
                                         large as that slot, and may take a minute and a second more for each 32 KiB, with no \
                                         silence of 30 seconds. Until all of it is there and verified, the next start is that \
                                         of the version that runs. A new version has three tries to show that it is good; \
                                         otherwise the one before it comes back by itself. It is refused with 409 while \
                                         another update is received or a version is on trial, where its version is not \
                                         newer, and on machines without slots; with 422 where it is not signed by a key \
                                         that the router trusts, is for another machine, or is damaged.",
                         "parameters": [force],
                         "requestBody": {"required": true, "content": file},
                         "responses": answers("It is on the disk.", &installed)}
            }),
        ),
        (
            "/v1/system/reboot",
            json!({
                "post": {"operationId": "reboot", "summary": "Starts the machine again, in order.",
                         "description": "Connections through the router stop meanwhile. It is refused with 409 where the \
                                         service was not given a way to do that, and while an update is received.",
                         "responses": answers("The machine ends now.", &rebooting)}
            }),
        ),
    ]
}
