# The board's code, and one executable per variant.
set(board_dir "${CMAKE_CURRENT_SOURCE_DIR}/boards/${VP_BOARD}")
separate_arguments(part_dirs UNIX_COMMAND "${VP_BOARD_PARTS}")
list(TRANSFORM part_dirs PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/boards/common/")
set(core_dir "${CMAKE_CURRENT_SOURCE_DIR}/boards/common/cortex_m")

if(DEFINED VP_BOARD_VECTORS_ORIGIN)
  set(vectors_region
    "VECTORS (rx) : ORIGIN = ${VP_BOARD_VECTORS_ORIGIN}, LENGTH = ${VP_BOARD_VECTORS_SIZE}")
  set(vectors_alias "")
else()
  set(vectors_region "")
  set(vectors_alias "REGION_ALIAS(\"VECTORS\", FLASH)")
endif()
if(DEFINED VP_BOARD_DMA_ORIGIN)
  set(dma_region "DMA (rw) : ORIGIN = ${VP_BOARD_DMA_ORIGIN}, LENGTH = ${VP_BOARD_DMA_SIZE}")
  set(dma_alias "")
else()
  set(dma_region "")
  set(dma_alias "REGION_ALIAS(\"DMA\", RAM)")
endif()
file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/memory.ld" CONTENT
"MEMORY
{
    ${vectors_region}
    FLASH (rx) : ORIGIN = ${VP_BOARD_FLASH_ORIGIN}, LENGTH = ${VP_BOARD_FLASH_SIZE}
    RAM (rwx) : ORIGIN = ${VP_BOARD_RAM_ORIGIN}, LENGTH = ${VP_BOARD_RAM_SIZE}
    ${dma_region}
}
${vectors_alias}
${dma_alias}
vp_stack_size = ${VP_BOARD_STACK_SIZE};
")

set(board_sources "")
foreach(dir IN LISTS part_dirs ITEMS "${board_dir}")
  file(GLOB sources CONFIGURE_DEPENDS "${dir}/*.c" "${dir}/*.S")
  list(APPEND board_sources ${sources})
endforeach()
add_library(vp_board OBJECT ${board_sources})
target_include_directories(vp_board PUBLIC "${board_dir}" ${part_dirs})
# Every number of board.toml that the board's code may want.
foreach(key CLOCK_HZ WATCHDOG_MS PROVISION_ADDRESS JOURNAL_ADDRESS JOURNAL_PAGE_SIZE SERIAL_BAUD
            FLASH_ORIGIN FLASH_SIZE RAM_ORIGIN RAM_SIZE DMA_ORIGIN DMA_SIZE)
  if(DEFINED VP_BOARD_${key})
    target_compile_definitions(vp_board PUBLIC VP_BOARD_${key}=${VP_BOARD_${key}}u)
  endif()
endforeach()
target_compile_definitions(vp_board PUBLIC "VP_BOARD_NAME=\"${VP_BOARD_NAME}\"")
target_link_libraries(vp_board PUBLIC vp_node)

file(GLOB variant_files CONFIGURE_DEPENDS "${VP_VARIANTS_DIR}/*/variant.c")
foreach(variant_file IN LISTS variant_files)
  get_filename_component(variant_dir "${variant_file}" DIRECTORY)
  get_filename_component(variant "${variant_dir}" NAME)

  if(VP_RUNTIME STREQUAL "tflm")
    vp_add_tflm_model(model_${variant} "${variant_dir}/model")
  else()
    file(GLOB_RECURSE model_sources CONFIGURE_DEPENDS "${variant_dir}/model/*.c")
    add_library(model_${variant} STATIC ${model_sources})
    target_include_directories(model_${variant} PRIVATE "${variant_dir}/model")
    target_compile_options(model_${variant} PRIVATE -O2)
  endif()

  add_executable(image_${variant} EXCLUDE_FROM_ALL boards/common/main.c "${variant_file}")
  target_include_directories(image_${variant} PRIVATE "${variant_dir}" "${variant_dir}/model")
  target_link_libraries(image_${variant} PRIVATE vp_board vp_node model_${variant})
  target_link_options(image_${variant} PRIVATE
    -nostartfiles --specs=nano.specs --specs=nosys.specs -Wl,--gc-sections
    "-L${CMAKE_CURRENT_BINARY_DIR}" "-T${core_dir}/sections.ld" -Wl,--fatal-warnings)
  set_target_properties(image_${variant} PROPERTIES
    OUTPUT_NAME "${variant}" SUFFIX ".elf"
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/images"
    LINK_DEPENDS "${core_dir}/sections.ld;${CMAKE_CURRENT_BINARY_DIR}/memory.ld")
endforeach()
