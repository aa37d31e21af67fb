/* What one run leaves for the next: causes by RAM and by the chip, faults, counters, damaged records. */
#include <string.h>

#include "../boards/common/cortex_m/reset_record.c"
#include "check.h"

static uint8_t hardware;
static unsigned cleaned;

uint8_t vp_board_hardware_reset_cause(void)
{
    return hardware;
}

void vp_core_clean_dcache(const volatile void *data, size_t size)
{
    cleaned += (data == &end && size == sizeof(end)) || (data == &counters && size == sizeof(counters));
}

static const vp_fault crash = {0x08001234, 0x08000101, 0x61000003, 1u << 16, 1u << 30, 0};

static void lose_power(void)
{
    memset(&end, 0xA5, sizeof(end));
    memset(&counters, 0x5A, sizeof(counters));
}

/* Start-up clears what is neither here nor there. */
static void start(uint8_t cause)
{
    hardware = cause;
    reset_cause = 0xFF;
    has_fault = 0;
    memset(&last_fault, 0, sizeof(last_fault));
    vp_core_read_reset_record();
}

static void test_causes(void)
{
    static const struct {
        int powered;
        uint8_t hardware, cause;
    } cases[] = {
        {0, VP_RESET_UNKNOWN, VP_RESET_POWER},
        {1, VP_RESET_UNKNOWN, VP_RESET_EXTERNAL},
        {0, VP_RESET_POWER, VP_RESET_POWER},
        {1, VP_RESET_POWER, VP_RESET_POWER},
        {0, VP_RESET_EXTERNAL, VP_RESET_EXTERNAL},
        {1, VP_RESET_EXTERNAL, VP_RESET_EXTERNAL},
        {0, VP_RESET_WATCHDOG, VP_RESET_WATCHDOG},
        {1, VP_RESET_WATCHDOG, VP_RESET_WATCHDOG},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        lose_power();
        if (cases[i].powered) {
            start(VP_RESET_POWER);
        }
        start(cases[i].hardware);
        CHECK(vp_board_reset_cause() == cases[i].cause);
        CHECK(vp_board_fault() == NULL);
    }
}

/* The chip calls the reset that a fault ends in external. */
static void test_fault_is_told_once(void)
{
    static const uint8_t causes[] = {VP_RESET_FAULT, VP_RESET_WATCHDOG};
    for (size_t i = 0; i < 2; i++) {
        lose_power();
        start(VP_RESET_POWER);
        vp_core_record_end(causes[i], &crash);
        start(VP_RESET_EXTERNAL);
        CHECK(vp_board_reset_cause() == causes[i]);
        const vp_fault *fault = vp_board_fault();
        CHECK(fault != NULL && memcmp(fault, &crash, sizeof(crash)) == 0);
        start(VP_RESET_EXTERNAL);
        CHECK(vp_board_reset_cause() == VP_RESET_EXTERNAL && vp_board_fault() == NULL);
    }
}

static void test_damaged_records(void)
{
    for (size_t bit = 0; bit < 8u * sizeof(end); bit++) {
        lose_power();
        start(VP_RESET_POWER);
        vp_core_record_end(VP_RESET_FAULT, &crash);
        ((uint8_t *)&end)[bit / 8u] ^= (uint8_t)(1u << bit % 8u);
        start(VP_RESET_UNKNOWN);
        CHECK(vp_board_reset_cause() == VP_RESET_POWER && vp_board_fault() == NULL);
    }
    for (size_t bit = 0; bit < 8u * sizeof(counters); bit++) {
        lose_power();
        start(VP_RESET_POWER);
        vp_board_keep_gateway_boot(9);
        CHECK(vp_board_next_boot(70) == 70u);
        ((uint8_t *)&counters)[bit / 8u] ^= (uint8_t)(1u << bit % 8u);
        vp_core_record_end(VP_RESET_FAULT, &crash);
        start(VP_RESET_EXTERNAL);
        CHECK(vp_board_reset_cause() == VP_RESET_FAULT && vp_board_fault() != NULL);
        CHECK(vp_board_gateway_boot() == 0u && vp_board_next_boot(3) == 3u);
    }
}

static void test_counters(void)
{
    lose_power();
    start(VP_RESET_POWER);
    CHECK(vp_board_next_boot(40) == 40u && vp_board_next_boot(0) == 41u);
    start(VP_RESET_EXTERNAL);
    CHECK(vp_board_next_boot(40) == 42u && vp_board_next_boot(50) == 50u);
    vp_board_keep_gateway_boot(0x01000007u);
    start(VP_RESET_WATCHDOG);
    CHECK(vp_board_gateway_boot() == 7u && vp_board_next_boot(0) == 51u);
    lose_power();
    start(VP_RESET_POWER);
    CHECK(vp_board_gateway_boot() == 0u && vp_board_next_boot(12) == 12u);
}

static void test_every_change_leaves_the_cache(void)
{
    lose_power();
    cleaned = 0;
    start(VP_RESET_POWER);
    CHECK(cleaned == 2u);
    (void)vp_board_next_boot(1);
    vp_board_keep_gateway_boot(1);
    vp_core_record_end(VP_RESET_FAULT, &crash);
    CHECK(cleaned == 5u);
}

int main(void)
{
    test_causes();
    test_fault_is_told_once();
    test_damaged_records();
    test_counters();
    test_every_change_leaves_the_cache();
    CHECK_DONE();
}
