/* What one run leaves for the next in RAM that start-up does not clear: why it ended, its boot counter
 * and the gateway's. A power cycle destroys it, which its CRC shows. */
#include "core.h"
#include "vp/wire.h"

#define MAGIC 0x56505252u
#define BOOT_MASK 0xFFFFFFu

typedef struct reset_record {
    uint32_t magic;
    uint32_t boot;
    uint32_t gateway_boot;
    uint32_t cause;
    uint32_t crc;
} reset_record;

__attribute__((section(".noinit"))) static reset_record record;
static uint8_t reset_cause;

static uint32_t crc_of_record(void)
{
    return vp_crc32c(0, (const uint8_t *)&record, sizeof(record) - sizeof(record.crc));
}

void vp_core_record_cause(uint32_t cause)
{
    record.cause = cause;
    record.crc = crc_of_record();
}

static uint8_t combined_cause(int valid)
{
    const uint8_t hardware = vp_board_hardware_reset_cause();
    if (valid && hardware != VP_RESET_POWER &&
        (record.cause == VP_RESET_WATCHDOG || record.cause == VP_RESET_FAULT)) {
        return (uint8_t)record.cause;
    }
    if (hardware != VP_RESET_UNKNOWN) {
        return hardware;
    }
    return valid ? VP_RESET_EXTERNAL : VP_RESET_POWER;
}

/* Called by start-up. */
void vp_core_read_reset_record(void);

void vp_core_read_reset_record(void)
{
    const int valid = record.magic == MAGIC && record.crc == crc_of_record();
    reset_cause = combined_cause(valid);
    if (!valid) {
        record.magic = MAGIC;
        record.boot = 0;
        record.gateway_boot = 0;
    }
    /* Whoever resets the board without a word does so from outside. */
    vp_core_record_cause(VP_RESET_EXTERNAL);
}

uint8_t vp_board_reset_cause(void)
{
    return reset_cause;
}

uint32_t vp_board_next_boot(uint32_t least)
{
    const uint32_t next = record.boot + 1u;
    record.boot = (next > least ? next : least) & BOOT_MASK;
    record.crc = crc_of_record();
    return record.boot;
}

uint32_t vp_board_gateway_boot(void)
{
    return record.gateway_boot;
}

void vp_board_keep_gateway_boot(uint32_t boot)
{
    record.gateway_boot = boot & BOOT_MASK;
    record.crc = crc_of_record();
}
