/* FNV-1a over every offset and size of the shared layout: two builds that disagree about one field cannot attach. */
#include "shm/layout.h"

#define FIELD(type, member) offsetof(type, member), sizeof(((type *)NULL)->member)

uint64_t shm_layout_fingerprint(void)
{
    /* In the order of the layout, a struct a row. */
    /* clang-format off */
    static const uint32_t facts[] = {
        FIELD(struct shm_c_header, features_required), FIELD(struct shm_c_header, nonce), FIELD(struct shm_c_header, want_byte),
        FIELD(struct shm_c_header, detached),
        FIELD(struct shm_registration_record, kind), FIELD(struct shm_registration_record, parent),
        FIELD(struct shm_registration_record, max_message_size), FIELD(struct shm_registration_record, string_len),
        FIELD(struct shm_registration_record, default_topic_queue_nums),
        FIELD(struct shm_registration_record, text), FIELD(struct shm_registration, words),
        FIELD(struct shm_slot_record, index), FIELD(struct shm_slot_record, deadline_ns), FIELD(struct shm_slot_record, submit_ns),
        FIELD(struct shm_slot_record, op), FIELD(struct shm_slot_record, flags), FIELD(struct shm_slot_record, uniq_len),
        FIELD(struct shm_slot_record, body_segment), FIELD(struct shm_slot_record, producer_h), FIELD(struct shm_slot_record, topic_h),
        FIELD(struct shm_slot_record, queue_id), FIELD(struct shm_slot_record, msg_flag), FIELD(struct shm_slot_record, properties_off),
        FIELD(struct shm_slot_record, properties_len), FIELD(struct shm_slot_record, body_off), FIELD(struct shm_slot_record, body_len),
        FIELD(struct shm_slot_record, uniq), FIELD(struct shm_slot, words),
        FIELD(struct shm_c, registration), FIELD(struct shm_c, tail), FIELD(struct shm_c, idx), FIELD(struct shm_c, slot),
        FIELD(struct shm_c, arena), SHM_C_BYTES,
        FIELD(struct shm_h_header, epoch), FIELD(struct shm_h_header, client_number), FIELD(struct shm_h_header, nonce),
        FIELD(struct shm_h_header, state),
        FIELD(struct shm_mbox_record, outcome), FIELD(struct shm_mbox_record, send_status), FIELD(struct shm_mbox_record, msgid_len),
        FIELD(struct shm_mbox_record, code), FIELD(struct shm_mbox_record, attempts), FIELD(struct shm_mbox_record, flags),
        FIELD(struct shm_mbox_record, queue_id), FIELD(struct shm_mbox_record, queue_offset), FIELD(struct shm_mbox_record, msgid),
        FIELD(struct shm_mbox_record, broker_ix), FIELD(struct shm_mbox_record, reason_len), FIELD(struct shm_mbox_record, ring_us),
        FIELD(struct shm_h, sq_head), FIELD(struct shm_h, armed), FIELD(struct shm_h, async_tail), FIELD(struct shm_h, mbox),
        FIELD(struct shm_h, async_idx), FIELD(struct shm_h, reason), FIELD(struct shm_h, broker), SHM_H_BYTES,
    };
    /* clang-format on */
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        hash ^= facts[i];
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}
