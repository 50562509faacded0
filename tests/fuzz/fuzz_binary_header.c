/* A ROCKETMQ binary header. */
#include "tests/fuzz/fuzz_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t frame_len;
    struct remoting_command command;
    const void *frame = fuzz_frame_of(SERIALIZE_ROCKETMQ, data, len, &frame_len);
    fuzz_compare_send_response(frame, frame_len);
    if (fuzz_decode(&command, frame, frame_len))
        fuzz_round_trip(&command);
    return 0;
}
