/* Memory protection of the F7's Cortex-M7 (ARM DDI 0403, B3.5): what its data cache must not hold, and
 * where it must not reach. */
#include "stm32.h"

#if VP_STM32_F7

#define MPU_CTRL VP_REGISTER(0xE000ED94u)
#define MPU_RNR VP_REGISTER(0xE000ED98u)
#define MPU_RBAR VP_REGISTER(0xE000ED9Cu)
#define MPU_RASR VP_REGISTER(0xE000EDA0u)
#define ENABLE_OVER_DEFAULT_MAP 5u
#define RASR_ENABLE 1u
#define RASR_SIZE(log2) (((log2) - 1u) << 1)
#define RASR_UNCACHED_SHARED (1u << 19 | 1u << 18)
#define RASR_FULL_ACCESS (3u << 24)
#define RASR_NO_EXECUTE (1u << 28)

/* 0x60000000 to 0xDFFFFFFF: memory outside the chip. The processor reads ahead there on its own, and
 * hangs on a memory controller that has no clock (AN4838). Three regions rather than one of 4 GB without
 * some of its subregions, which Renode looks up at each access to any memory. */
#define CLOSED(log2) (RASR_NO_EXECUTE | RASR_SIZE(log2) | RASR_ENABLE)

static void set_region(unsigned region, uint32_t origin, uint32_t attributes)
{
    MPU_RNR = region;
    MPU_RBAR = origin;
    MPU_RASR = attributes;
}

static void map_uncached(unsigned region, uint32_t origin, uint32_t size)
{
    set_region(region, origin,
               RASR_NO_EXECUTE | RASR_FULL_ACCESS | RASR_UNCACHED_SHARED |
                   RASR_SIZE(31u - (uint32_t)__builtin_clz(size)) | RASR_ENABLE);
}

#define IS_REGION(origin, size) (((size) & ((size) - 1u)) == 0u && (origin) % (size) == 0u)
_Static_assert(IS_REGION(VP_BOARD_JOURNAL_ADDRESS, 2u * VP_BOARD_JOURNAL_PAGE_SIZE),
               "the boot journal is no MPU region");
_Static_assert(IS_REGION(VP_BOARD_DMA_ORIGIN, VP_BOARD_DMA_SIZE), "the DMA memory is no MPU region");

void vp_stm32_start_mpu(void)
{
    set_region(0, 0x60000000u, CLOSED(29u));
    set_region(1, 0x80000000u, CLOSED(30u));
    set_region(2, 0xC0000000u, CLOSED(29u));
    map_uncached(3, VP_BOARD_JOURNAL_ADDRESS, 2u * VP_BOARD_JOURNAL_PAGE_SIZE);
    map_uncached(4, VP_BOARD_DMA_ORIGIN, VP_BOARD_DMA_SIZE);
    MPU_CTRL = ENABLE_OVER_DEFAULT_MAP;
    VP_CORE_BARRIER();
}

#else

void vp_stm32_start_mpu(void)
{
}

#endif
