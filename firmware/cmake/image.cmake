# The board's code, and one executable per variant.
set(board_dir "${CMAKE_CURRENT_SOURCE_DIR}/boards/${VP_BOARD}")
set(core_dir "${CMAKE_CURRENT_SOURCE_DIR}/boards/common/${VP_BOARD_CORE_FAMILY}")

file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/memory.ld"
"MEMORY
{
    FLASH (rx) : ORIGIN = ${VP_BOARD_FLASH_ORIGIN}, LENGTH = ${VP_BOARD_FLASH_SIZE}
    RAM (rwx) : ORIGIN = ${VP_BOARD_RAM_ORIGIN}, LENGTH = ${VP_BOARD_RAM_SIZE}
}
vp_stack_size = ${VP_BOARD_STACK_SIZE};
")

file(GLOB board_sources CONFIGURE_DEPENDS "${board_dir}/*.c" "${core_dir}/*.c")
add_library(vp_board OBJECT ${board_sources})
target_include_directories(vp_board PUBLIC "${board_dir}" "${core_dir}")
target_compile_definitions(vp_board PUBLIC
  "VP_BOARD_NAME=\"${VP_BOARD_NAME}\"" VP_BOARD_CLOCK_HZ=${VP_BOARD_CLOCK_HZ}u
  VP_BOARD_WATCHDOG_MS=${VP_BOARD_WATCHDOG_MS}u
  VP_BOARD_PROVISION_ADDRESS=${VP_BOARD_PROVISION_ADDRESS}u)
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
