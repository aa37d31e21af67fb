/* The boot journal on flash that loses its power: at every write and every erase, in every state that
 * an interrupted one can leave, and again while it recovers. */
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include "../boards/common/journal/flash.h"
#include "../boards/common/journal/journal.h"
#include "check.h"

#define SLOTS 6u
#define PAGE (SLOTS * VP_JOURNAL_RECORD_SIZE)
#define BASE 0x08004000u
#define NEVER UINT32_MAX

/* Flash as the chips have it: programming clears bits, a word after the other; an erase sets them. What
 * was under way when the power went reads as anything from then on, until it is erased to the end:
 * programming it again does not settle bits that should stay set. */
static struct {
    uint8_t bytes[2 * PAGE];
    uint8_t unstable[2 * PAGE];
    uint32_t steps;    /* Words programmed and pages erased in this run. */
    uint32_t cut_at;   /* The step that the power does not last for. */
    uint32_t erases;
    uint32_t programs;
    uint32_t broken;   /* Bit i: slot i (both pages) keeps its bits set; programming fails or lies. */
    int reports;       /* Whether broken slots say so. */
    jmp_buf power_off;
} flash;

static vp_journal journal;
static uint32_t noise_state;

static uint8_t noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return (uint8_t)(noise_state >> 24);
}

static void read_unstable(void)
{
    for (size_t i = 0; i < sizeof(flash.bytes); i++) {
        flash.bytes[i] =
            (uint8_t)((flash.bytes[i] & ~flash.unstable[i]) | (noise() & flash.unstable[i]));
    }
}

static int cut_now(void)
{
    return flash.steps++ == flash.cut_at;
}

int vp_flash_erase(uint32_t address)
{
    const uint32_t at = address - BASE;
    CHECK(at == 0u || at == PAGE);
    flash.erases++;
    if (cut_now()) {
        memset(flash.unstable + at, 0xFF, PAGE); /* Chips clear all bits before they set them. */
        longjmp(flash.power_off, 1);
    }
    memset(flash.bytes + at, 0xFF, PAGE);
    memset(flash.unstable + at, 0, PAGE);
    return 0;
}

static void program_word(uint32_t at, const uint8_t *word)
{
    const int cut = cut_now();
    for (uint32_t i = 0; i < 4u; i++) {
        if (cut) {
            flash.unstable[at + i] = (uint8_t)(flash.unstable[at + i] | (uint8_t)~word[i]);
        } else {
            flash.unstable[at + i] = (uint8_t)(flash.unstable[at + i] & word[i]);
            flash.bytes[at + i] = (uint8_t)(flash.bytes[at + i] & word[i]);
        }
    }
    if (cut) {
        longjmp(flash.power_off, 1);
    }
}

int vp_flash_program(uint32_t address, const void *data, size_t size)
{
    const uint32_t at = address - BASE;
    CHECK(at % 8u == 0u && size == VP_JOURNAL_RECORD_SIZE && at + size <= sizeof(flash.bytes));
    flash.programs++;
    for (uint32_t i = 0; i < size; i++) {
        CHECK(flash.bytes[at + i] == 0xFFu);
    }
    if ((flash.broken >> at / VP_JOURNAL_RECORD_SIZE & 1u) != 0u) {
        return flash.reports ? -1 : 0;
    }
    program_word(at, data);
    program_word(at + 4u, (const uint8_t *)data + 4u);
    return 0;
}

static void new_flash(uint8_t filling, uint32_t seed)
{
    memset(&flash, 0, sizeof(flash));
    memset(flash.bytes, filling, sizeof(flash.bytes));
    flash.cut_at = NEVER;
    noise_state = seed;
}

static void power_on(uint32_t cut_at)
{
    journal = (vp_journal){.pages = flash.bytes, .address = BASE, .page_size = PAGE};
    flash.steps = 0;
    flash.cut_at = cut_at;
    read_unstable();
}

/* One run of a node: reads, stores numbers above and uses each that was stored. `used` and `tried` are
 * the highest used and tried in all runs. @return 1, or 0 if the power went. */
static int run(uint32_t cut_at, uint32_t stores, uint32_t *used, uint32_t *tried)
{
    power_on(cut_at);
    const uint32_t stored = vp_journal_read(&journal);
    CHECK(stored >= *used && stored <= *tried);
    if (setjmp(flash.power_off) != 0) {
        return 0;
    }
    for (uint32_t i = 1; i <= stores; i++) {
        const uint32_t next = stored + i;
        if (next > *tried) {
            *tried = next;
        }
        read_unstable();
        CHECK(vp_journal_store(&journal, next) == 1);
        read_unstable();
        CHECK(vp_journal_read(&journal) == next);
        *used = next;
    }
    return 1;
}

static void test_rises_over_runs(void)
{
    static const uint8_t fillings[] = {0xFF, 0x00, 0x5A};
    for (size_t i = 0; i < sizeof(fillings); i++) {
        uint32_t used = 0;
        uint32_t tried = 0;
        new_flash(fillings[i], 1);
        for (uint32_t boot = 1; boot <= 60u; boot++) {
            CHECK(run(NEVER, 1, &used, &tried) && used == boot);
        }
        /* 3 runs in a page of 6 slots. */
        CHECK(flash.programs == 60u && flash.erases == 20u);
    }
}

static void test_one_run_fills_every_slot(void)
{
    uint32_t used = 0;
    uint32_t tried = 0;
    new_flash(0xFF, 1);
    CHECK(run(NEVER, 10u * SLOTS, &used, &tried) && used == 10u * SLOTS);
    CHECK(flash.programs == 10u * SLOTS && flash.erases == 10u);
}

/* Every step of some runs is cut, each time with other noise, and then every step of the run that
 * follows. */
static void test_power_goes_at_every_step(void)
{
    enum { RUNS = 9, STEPS = 5, SEEDS = 12 };
    for (uint32_t seed = 0; seed < SEEDS; seed++) {
        for (uint32_t before = 0; before < RUNS; before++) {
            for (uint32_t cut = 0; cut < STEPS; cut++) {
                for (uint32_t again = 0; again <= STEPS; again++) {
                    uint32_t used = 0;
                    uint32_t tried = 0;
                    new_flash(0xFF, seed * 7919u + before * 97u + cut * 11u + again);
                    for (uint32_t boot = 0; boot < before; boot++) {
                        CHECK(run(NEVER, 1, &used, &tried));
                    }
                    (void)run(cut, 2, &used, &tried);
                    (void)run(again, 2, &used, &tried);
                    for (uint32_t boot = 0; boot < 4u; boot++) {
                        CHECK(run(NEVER, 1, &used, &tried));
                    }
                }
            }
        }
    }
}

/* A supply that hardly ever holds: the number still never falls, and each erase has a reason. */
static void test_power_goes_all_the_time(void)
{
    for (uint32_t seed = 1; seed <= 40u; seed++) {
        uint32_t used = 0;
        uint32_t tried = 0;
        uint32_t cuts = 0;
        uint32_t runs = 0;
        new_flash(seed % 2u == 0u ? 0xFF : 0x00, seed);
        while (used < 150u) {
            cuts += run(noise() % 6u, 1, &used, &tried) ? 0u : 1u;
            runs++;
        }
        CHECK(cuts > 20u && cuts < runs);
        CHECK(flash.erases <= runs / 2u + cuts + 1u);
    }
}

static void test_worn_slots_are_left_behind(void)
{
    for (int reports = 0; reports <= 1; reports++) {
        for (uint32_t broken = 0; broken < 1u << SLOTS; broken++) {
            uint32_t used = 0;
            uint32_t tried = 0;
            new_flash(0xFF, broken);
            flash.reports = reports;
            CHECK(run(NEVER, 1, &used, &tried));
            flash.broken = broken << SLOTS; /* The page that is not in use. */
            power_on(NEVER);
            for (uint32_t i = 0; i < 4u * SLOTS; i++) {
                const uint32_t stored = vp_journal_read(&journal);
                CHECK(stored >= used);
                used = stored;
                if (vp_journal_store(&journal, used + 1u)) {
                    used++;
                    CHECK(vp_journal_read(&journal) == used);
                } else {
                    CHECK((broken & 15u) == 15u);
                }
            }
        }
    }
}

static void test_numbers_out_of_range(void)
{
    new_flash(0xFF, 1);
    power_on(NEVER);
    CHECK(vp_journal_read(&journal) == 0u);
    CHECK(vp_journal_store(&journal, 0) == 0 && vp_journal_store(&journal, 1u << 24) == 0);
    CHECK(flash.erases == 0u && flash.programs == 0u);
    CHECK(vp_journal_store(&journal, 7) == 1 && vp_journal_store(&journal, 7) == 1);
    CHECK(vp_journal_store(&journal, 6) == 1 && vp_journal_read(&journal) == 7u);
    CHECK(flash.programs == 1u);
    CHECK(vp_journal_store(&journal, VP_JOURNAL_MAX) == 1);
    CHECK(vp_journal_read(&journal) == VP_JOURNAL_MAX);
}

/* Numbers that somebody else wrote there count for nothing. */
static void test_a_record_with_any_bit_wrong_does_not_count(void)
{
    for (uint32_t bit = 0; bit < 64u; bit++) {
        uint32_t used = 0;
        uint32_t tried = 0;
        new_flash(0xFF, 1);
        CHECK(run(NEVER, 2, &used, &tried) && used == 2u);
        flash.bytes[8u + bit / 8u] ^= (uint8_t)(1u << bit % 8u);
        CHECK(vp_journal_read(&journal) == 1u);
    }
}

int main(void)
{
    test_rises_over_runs();
    test_one_run_fills_every_slot();
    test_power_goes_at_every_step();
    test_power_goes_all_the_time();
    test_worn_slots_are_left_behind();
    test_numbers_out_of_range();
    test_a_record_with_any_bit_wrong_does_not_count();
    CHECK_DONE();
}
