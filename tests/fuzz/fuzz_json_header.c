/* A JSON header. Held against the fast reader of send replies, which must agree on every input. */
#include "tests/fuzz/fuzz_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t frame_len;
    struct remoting_command command;
    const void *frame = fuzz_frame_of(SERIALIZE_JSON, data, len, &frame_len);
    fuzz_compare_send_response(frame, frame_len);
    if (fuzz_decode(&command, frame, frame_len))
        fuzz_round_trip(&command);
    return 0;
}
