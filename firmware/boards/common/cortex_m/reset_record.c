/* Two records, each under a CRC that a power cycle breaks: the counters, and how the run ended. Apart,
 * so that a fault does not seal counters that it may have overwritten. */
#include "reset_record.h"

#include "core.h"

#define BOOT_MASK 0xFFFFFFu

typedef struct counter_record {
    uint32_t boot;
    uint32_t gateway_boot;
    uint32_t crc;
} counter_record;

typedef struct end_record {
    uint32_t cause;
    vp_fault fault;
    uint32_t crc;
} end_record;

__attribute__((section(".noinit"))) static counter_record counters;
__attribute__((section(".noinit"))) static end_record end;

static uint8_t reset_cause;
static int has_fault;
static vp_fault last_fault;

static uint32_t crc_of_counters(void)
{
    return vp_crc32c(0, (const uint8_t *)&counters, sizeof(counters) - sizeof(counters.crc));
}

static uint32_t crc_of_end(void)
{
    return vp_crc32c(0, (const uint8_t *)&end, sizeof(end) - sizeof(end.crc));
}

/* A reset empties the data cache without a word to memory. */
static void seal_counters(void)
{
    counters.crc = crc_of_counters();
    vp_core_clean_dcache(&counters, sizeof(counters));
}

void vp_core_record_end(uint8_t cause, const vp_fault *fault)
{
    end.cause = cause;
    end.fault = *fault;
    end.crc = crc_of_end();
    vp_core_clean_dcache(&end, sizeof(end));
}

static uint8_t combined_cause(int survived)
{
    const uint8_t hardware = vp_board_hardware_reset_cause();
    if (has_fault) {
        return (uint8_t)end.cause;
    }
    if (hardware != VP_RESET_UNKNOWN) {
        return hardware;
    }
    return survived ? VP_RESET_EXTERNAL : VP_RESET_POWER;
}

void vp_core_read_reset_record(void)
{
    static const vp_fault none;
    const int survived = end.crc == crc_of_end();
    has_fault = survived && (end.cause == VP_RESET_WATCHDOG || end.cause == VP_RESET_FAULT);
    last_fault = end.fault;
    reset_cause = combined_cause(survived);
    if (counters.crc != crc_of_counters()) {
        counters.boot = 0;
        counters.gateway_boot = 0;
        seal_counters();
    }
    /* Whoever resets the board without a word does so from outside. */
    vp_core_record_end(VP_RESET_EXTERNAL, &none);
}

uint8_t vp_board_reset_cause(void)
{
    return reset_cause;
}

const vp_fault *vp_board_fault(void)
{
    return has_fault ? &last_fault : NULL;
}

uint32_t vp_board_next_boot(uint32_t least)
{
    const uint32_t next = counters.boot + 1u;
    counters.boot = (next > least ? next : least) & BOOT_MASK;
    seal_counters();
    return counters.boot;
}

uint32_t vp_board_gateway_boot(void)
{
    return counters.gateway_boot;
}

void vp_board_keep_gateway_boot(uint32_t boot)
{
    counters.gateway_boot = boot & BOOT_MASK;
    seal_counters();
}
