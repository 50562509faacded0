/* A stream of frames, as a channel reads it: split, decode, take as a send reply. */
#include "tests/fuzz/fuzz_command.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct remoting_command command;
    size_t pos = 0, frame_len;
    while (remoting_frame_split(data + pos, len - pos, &frame_len) == 0) {
        FUZZ_CHECK(frame_len >= REMOTING_PREFIX_BYTES && frame_len <= len - pos);
        const void *frame = data + pos;
        pos += frame_len;
        fuzz_compare_send_response(frame, frame_len);
        if (!fuzz_decode(&command, frame, frame_len))
            break;
        fuzz_round_trip(&command);
        const char *missing;
        struct send_message_header header;
        if (send_message_header_decode(&command, &header, &missing) < 0)
            FUZZ_CHECK(missing != NULL);
    }
    /* One more byte never makes a refused start acceptable. */
    int rc = remoting_frame_split(data + pos, len - pos, &frame_len);
    FUZZ_CHECK(rc == 0 || rc == -EAGAIN || rc == -EPROTO);
    return 0;
}
