/* A heartbeat body; what a client without consumers says is written again and read back equal. */
#include "hub/protocol/heartbeat_data.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct heartbeat_data beat, again;
    static char scratch[1 << 20], scratch_2[8 << 20], body[8 << 20];
    static char small[8];
    size_t written;
    int rc = heartbeat_data_decode(&beat, data, len, small, sizeof(small));
    FUZZ_CHECK(rc == 0 || rc == -EPROTO || rc == -ENOBUFS);
    if (heartbeat_data_decode(&beat, data, len, scratch, sizeof(scratch)) < 0)
        return 0;
    FUZZ_CHECK(beat.producer_group_count <= HEARTBEAT_MAX_GROUPS && beat.consumer_group_count <= HEARTBEAT_MAX_GROUPS);
    FUZZ_CHECK(heartbeat_data_encode(beat.client_id, beat.producer_groups, beat.producer_group_count, body, sizeof(body), &written) == 0);
    FUZZ_CHECK(heartbeat_data_decode(&again, body, written, scratch_2, sizeof(scratch_2)) == 0);
    FUZZ_CHECK(span_equals(again.client_id, beat.client_id));
    FUZZ_CHECK(again.producer_group_count == beat.producer_group_count && again.consumer_group_count == 0);
    for (unsigned i = 0; i < beat.producer_group_count; i++)
        FUZZ_CHECK(span_equals(again.producer_groups[i], beat.producer_groups[i]));
    return 0;
}
