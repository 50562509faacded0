# Options, warnings and sanitizers, and the functions that the folders use:
# rmqhub_module, rmqhub_test, rmqhub_row, rmqhub_fuzz_target, rmqhub_static_bundle.
include_guard(GLOBAL)
include(GNUInstallDirs)

option(RMQHUB_BUILD_TESTS "Build the test programs and rmqhub-devbroker" ON)
option(RMQHUB_WERROR "Treat warnings as errors (CI does)" OFF)
set(RMQHUB_SANITIZE "" CACHE STRING "Comma list for -fsanitize=, e.g. address,undefined")
option(RMQHUB_COVERAGE "Instrument for gcov" OFF)
option(RMQHUB_FUZZ "Link the fuzz targets with libFuzzer (clang only); otherwise they replay their corpus" OFF)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug, Release or RelWithDebInfo" FORCE)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_program(RMQHUB_CCACHE ccache)
if(RMQHUB_CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${RMQHUB_CCACHE}")
endif()

# Every source sees the repository root, so that an include names its layer.
add_library(rmqhub_flags INTERFACE)
target_include_directories(rmqhub_flags INTERFACE "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}")
target_compile_definitions(rmqhub_flags INTERFACE _GNU_SOURCE RMQHUB_VERSION="${PROJECT_VERSION}")
target_compile_options(rmqhub_flags INTERFACE
  -Wall -Wextra -Wshadow -Wundef -Wwrite-strings -Wmissing-prototypes -Wstrict-prototypes
  -Wredundant-decls -Wnested-externs -Wdate-time -Wvla -Wpointer-arith -Wformat=2
  -Werror=format-security -Werror=implicit-function-declaration
  -fno-common -fno-strict-aliasing -fstack-protector-strong -fno-omit-frame-pointer
  $<$<C_COMPILER_ID:GNU>:-Wlogical-op>
  $<$<BOOL:${RMQHUB_WERROR}>:-Werror>)
if(RMQHUB_SANITIZE)
  target_compile_options(rmqhub_flags INTERFACE -fsanitize=${RMQHUB_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(rmqhub_flags INTERFACE -fsanitize=${RMQHUB_SANITIZE})
else()
  target_compile_definitions(rmqhub_flags INTERFACE $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
endif()
if(RMQHUB_COVERAGE)
  target_compile_options(rmqhub_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(rmqhub_flags INTERFACE --coverage)
endif()
target_link_options(rmqhub_flags INTERFACE -Wl,-z,relro,-z,now)
target_link_libraries(rmqhub_flags INTERFACE Threads::Threads)

# rmqhub_module(NAME SOURCES a.c b.c [DEPENDS other modules] [LINK third-party])
# One object library per module; DEPENDS carries the objects of lower layers along.
function(rmqhub_module name)
  cmake_parse_arguments(M "" "" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_library(${name}_obj OBJECT ${M_SOURCES})
  target_link_libraries(${name}_obj PUBLIC rmqhub_flags PRIVATE ${M_LINK})
  add_library(${name} INTERFACE)
  target_sources(${name} INTERFACE $<TARGET_OBJECTS:${name}_obj>)
  target_link_libraries(${name} INTERFACE rmqhub_flags ${M_LINK} ${M_DEPENDS})
endfunction()

# rmqhub_test(NAME SOURCES a.c DEPENDS modules [LABELS unit|system] [TIMEOUT s] [LINK libs])
function(rmqhub_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;DEPENDS;LINK;LABELS" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE rmqhub_flags ${T_DEPENDS} ${T_LINK} cmocka)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 60)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${T_TIMEOUT} LABELS "${T_LABELS}")
endfunction()

# rmqhub_row(NUMBER NAME FUNCTIONS f... [DEPENDS modules...] [SOURCES more.c...] [LINK libs])
# The test row_NN_NAME of one row of the client (ARCHITECTURE.md has the table), from
# tests/rows/row_NN_NAME.c and the network fixture; and, not part of all, one mutant
# of it for each of FUNCTIONS. ./dev mutate builds and runs those.
function(rmqhub_row number name)
  cmake_parse_arguments(R "" "" "FUNCTIONS;DEPENDS;SOURCES;LINK" ${ARGN})
  set(test "row_${number}_${name}")
  if(NOT TARGET net_fixture)
    add_library(net_fixture OBJECT "${PROJECT_SOURCE_DIR}/tests/unit/hub/net_fixture.c")
    target_link_libraries(net_fixture PRIVATE rmqhub_flags)
  endif()
  rmqhub_mutants(${test} ROW ${number} FUNCTIONS ${R_FUNCTIONS} SOURCES ${test}.c ${R_SOURCES}
    OBJECTS $<TARGET_OBJECTS:net_fixture> DEPENDS hub_producer ${R_DEPENDS} LINK ${R_LINK} cmocka)
  add_test(NAME ${test} COMMAND ${test})
  set_tests_properties(${test} PROPERTIES TIMEOUT 60 LABELS "unit;row")
endfunction()

# rmqhub_mutants(TEST ROW number FUNCTIONS f... SOURCES a.c... [OBJECTS o...] [DEPENDS modules] [LINK libs])
# The program TEST, and for each function the same objects linked once more with
# every call of it led to a stub that does nothing and returns 0. Only a call that
# crosses object files can be led away; so the stub stands in an archive, which the
# linker opens only if such a call is there: `nm` of the mutant shows whether.
function(rmqhub_mutants test)
  cmake_parse_arguments(M "" "ROW" "FUNCTIONS;SOURCES;OBJECTS;DEPENDS;LINK" ${ARGN})
  add_library(${test}_objects OBJECT ${M_SOURCES})
  target_link_libraries(${test}_objects PRIVATE rmqhub_flags)
  set(objects $<TARGET_OBJECTS:${test}_objects> ${M_OBJECTS})
  add_executable(${test} ${objects})
  target_link_libraries(${test} PRIVATE rmqhub_flags ${M_DEPENDS} ${M_LINK})
  foreach(function IN LISTS M_FUNCTIONS)
    set(mutant "mutant_${test}__${function}")
    set(RMQHUB_FUNCTION "${function}")
    configure_file("${PROJECT_SOURCE_DIR}/tests/mutate/stub.c.in" "${CMAKE_CURRENT_BINARY_DIR}/${mutant}.c" @ONLY)
    add_library(${mutant}_stub STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_BINARY_DIR}/${mutant}.c")
    target_link_libraries(${mutant}_stub PRIVATE rmqhub_flags)
    add_executable(${mutant} EXCLUDE_FROM_ALL ${objects})
    target_link_libraries(${mutant} PRIVATE rmqhub_flags ${M_DEPENDS} ${M_LINK} ${mutant}_stub)
    target_link_options(${mutant} PRIVATE "LINKER:--wrap=${function}")
    set_property(GLOBAL APPEND PROPERTY RMQHUB_MUTANTS ${mutant})
    set_property(GLOBAL APPEND_STRING PROPERTY RMQHUB_MUTANT_LIST
      "${M_ROW}\t${function}\t$<TARGET_FILE:${test}>\t$<TARGET_FILE:${mutant}>\n")
  endforeach()
endfunction()

# Call once after the last rmqhub_mutants: the target `mutants` and the list that tests/mutate/mutate.py reads
# (row, function, test program, mutant).
function(rmqhub_mutants_end)
  get_property(mutants GLOBAL PROPERTY RMQHUB_MUTANTS)
  get_property(list GLOBAL PROPERTY RMQHUB_MUTANT_LIST)
  add_custom_target(mutants DEPENDS ${mutants})
  file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/mutants.txt" CONTENT "${list}")
endfunction()

# rmqhub_static_bundle(TARGET MODULES module... [OUTPUT_NAME name])
# A static library that is one relocatable object in which only the exported
# symbols stay global: an application that links it statically cannot collide
# with the names of our base utilities.
function(rmqhub_static_bundle target)
  cmake_parse_arguments(B "" "OUTPUT_NAME" "MODULES" ${ARGN})
  set(bundle "${CMAKE_CURRENT_BINARY_DIR}/${target}.o")
  set(objects)
  foreach(module IN LISTS B_MODULES)
    list(APPEND objects "$<TARGET_OBJECTS:${module}_obj>")
  endforeach()
  add_custom_command(OUTPUT "${bundle}"
    COMMAND "${CMAKE_LINKER}" -r -o "${bundle}" ${objects}
    COMMAND "${CMAKE_OBJCOPY}" --localize-hidden "${bundle}"
    DEPENDS ${objects} COMMAND_EXPAND_LISTS VERBATIM)
  add_library(${target} STATIC "${bundle}")
  set_source_files_properties("${bundle}" PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE C)
  if(B_OUTPUT_NAME)
    set_target_properties(${target} PROPERTIES OUTPUT_NAME "${B_OUTPUT_NAME}")
  endif()
endfunction()

# rmqhub_fuzz_target(NAME SOURCES fuzz_x.c DEPENDS modules CORPUS folder)
# With RMQHUB_FUZZ a libFuzzer program (./dev fuzz runs it); otherwise the same
# LLVMFuzzerTestOneInput replays its corpus under every compiler and sanitizer,
# through tests/fuzz/fuzz_main.c, as a unit test.
function(rmqhub_fuzz_target name)
  cmake_parse_arguments(F "" "CORPUS" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_executable(${name} ${F_SOURCES})
  target_link_libraries(${name} PRIVATE rmqhub_flags ${F_DEPENDS} ${F_LINK})
  if(RMQHUB_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz_main.c")
    add_test(NAME ${name} COMMAND ${name} "${F_CORPUS}")
    set_tests_properties(${name} PROPERTIES TIMEOUT 60 LABELS "unit;fuzz")
  endif()
endfunction()
