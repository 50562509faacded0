/*
 * Golden facts of shared-memory layout 2.0. A change here is a change of the contract between
 * library and hub: raise SHM_ABI_MAJOR (or MINOR, if older libraries stay welcome), say so in the
 * CHANGELOG, and add the new facts beside these.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "shm/attach_protocol.h"
#include "shm/layout.h"

static void test_layout_2_0_is_as_it_was(void **state)
{
    (void)state;
    assert_int_equal(SHM_ABI_MAJOR, 2);
    assert_int_equal(SHM_ABI_MINOR, 0);
    assert_int_equal(SHM_C_BYTES, 827392);
    assert_int_equal(SHM_H_BYTES, 122880);
    assert_true(shm_layout_fingerprint() == UINT64_C(0x5bc9e410a6d32f53));
}

/* The bytes that a library of layout 2.0 sends, field by field where they stand. */
static void test_an_attach_of_2_0_reads_as_it_did(void **state)
{
    static const unsigned char golden[] = {
        0x4a, 0x54, 0x54, 0x41, 0x68, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0,
    };
    struct attach_request request = {0};
    (void)state;
    memcpy(&request, golden, sizeof(golden));
    assert_int_equal(request.magic, ATTACH_MAGIC);
    assert_int_equal(request.bytes, sizeof(request));
    assert_int_equal(request.abi_major_min, 2);
    assert_int_equal(request.abi_major_max, 2);
    assert_int_equal(request.abi_minor, 0);
    assert_int_equal(request.flags, ATTACH_WITH_C | ATTACH_WITH_PREVIOUS_H);
    assert_int_equal(offsetof(struct attach_request, fingerprint), 24);
    assert_int_equal(offsetof(struct attach_request, nonce), 56);
    assert_int_equal(offsetof(struct attach_reply, text), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_2_0_is_as_it_was),
        cmocka_unit_test(test_an_attach_of_2_0_reads_as_it_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
